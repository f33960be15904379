/** Metrics of the worker, in a process that runs one beside the API. */
import { Counter, Gauge, type Registry } from 'prom-client'

export type WorkerState = {
  /** Why no jobs are taken; undefined while the worker runs. */
  fault(): string | undefined
  /** How often it has ended by itself. */
  losses(): number
}

export function reportWorker(worker: WorkerState, registry: Registry): void {
  const registers = [registry]
  new Gauge({
    name: 'worker_running',
    help: '1 while the worker of this process takes jobs. Missing in a process without a worker.',
    registers,
    collect() {
      this.set(worker.fault() === undefined ? 1 : 0)
    },
  })
  new Counter({
    name: 'worker_losses_total',
    help: 'How often the worker of this process has ended by itself. Another one then starts.',
    registers,
    collect() {
      this.reset()
      this.inc(worker.losses())
    },
  })
}
