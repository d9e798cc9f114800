// Package telemetry makes a process observable: a logger, metrics and traces,
// as the environment asks for them.
//
// Metrics are always served for Prometheus to fetch, see [Telemetry.Handler].
// Beside that, metrics and traces go where OTEL_* says, as OpenTelemetry
// defines it. Where it names neither an exporter (OTEL_METRICS_EXPORTER,
// OTEL_TRACES_EXPORTER) nor an OTLP endpoint, nothing is sent and nothing is
// dialled. OTEL_SDK_DISABLED=true stops all sending, whatever else is set.
//
// Logs are JSON or text on a writer, usually standard error; they are not
// exported over OTLP.
package telemetry
