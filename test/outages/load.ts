/** Clients that send one request after the other while a deployment runs, as through a load balancer. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { TestServer } from '../support/apiServer.ts'
import { until } from '../support/waits.ts'

/** One request. It is sent again, unchanged, when an API closes the connection. */
export type Work = (api: TestServer) => Promise<{ status: number; text: string }>

export type Load = {
  /** The HTTP status of each response, with the body where it is not 200. */
  answers: readonly string[]
  /** Returns once the APIs have answered further requests. */
  further(): Promise<void>
  stop(): Promise<void>
}

/** Starts a client for each of `clients`, which makes its next request. Each request goes to the next API. */
export function startLoad(apis: () => readonly TestServer[], clients: readonly (() => Work)[]): Load {
  const answers: string[] = []
  let isOver = false
  let turn = 0
  const send = async (work: Work) => {
    for (;;) {
      const running = apis()
      try {
        const { status, text } = await work(running[turn++ % running.length] as TestServer)
        answers.push(status === 200 ? '200' : `${status} ${text}`)
        return
      } catch (error) {
        // of fetch: the process is stopping and has closed the connection
        if ((error as Error).name !== 'TypeError' || isOver) throw error
        await sleep(5)
      }
    }
  }
  const loops = clients.map(async next => {
    while (!isOver) await send(next())
  })
  return {
    answers,
    async further() {
      const before = answers.length
      await until('the APIs have answered', () => answers.length > before + 60)
    },
    async stop() {
      isOver = true
      await Promise.allSettled(loops)
    },
  }
}
