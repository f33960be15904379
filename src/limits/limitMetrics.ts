/** Metrics of the limiter. No label contains a user or an address. */
import { Counter, Gauge, Histogram, type Registry } from 'prom-client'

export type LimitMetrics = ReturnType<typeof makeLimitMetrics>

export function makeLimitMetrics(registry: Registry) {
  const registers = [registry]
  return {
    checks: new Counter({
      name: 'rate_limit_checks_total',
      help: 'Charges by policy and outcome: allowed, refused, shadow_refused.',
      labelNames: ['policy', 'outcome'],
      registers,
    }),
    duration: new Histogram({
      name: 'rate_limit_check_duration_seconds',
      help: 'Time to take the charges of a request, by backend: postgres, local.',
      labelNames: ['backend'],
      buckets: [0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1],
      registers,
    }),
    backendErrors: new Counter({
      name: 'rate_limit_backend_errors_total',
      help: 'Attempts to take charges from the shared counters that failed, by reason.',
      labelNames: ['reason'],
      registers,
    }),
    breakerOpen: new Gauge({
      name: 'rate_limit_breaker_open',
      help: '1 while charges are not sent to the shared counters, because these failed.',
      registers,
    }),
    configVersion: new Gauge({
      name: 'rate_limit_config_version',
      help: 'When the policies in force were loaded, in Unix seconds.',
      registers,
    }),
    configErrors: new Counter({
      name: 'rate_limit_config_errors_total',
      help: 'Failed attempts to read the policies.',
      registers,
    }),
    unclassified: new Counter({
      name: 'rate_limit_unclassified_requests_total',
      help: 'Requests whose document could not be read, by reason: no_document, syntax, operation.',
      labelNames: ['reason'],
      registers,
    }),
  }
}
