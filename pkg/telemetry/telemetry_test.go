package telemetry_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.uber.org/goleak"

	"github.com/sluicehq/sluice/pkg/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newTelemetry returns telemetry as env says, which is the process's too, as
// OpenTelemetry's SDK reads that.
func newTelemetry(t *testing.T, env map[string]string) *telemetry.Telemetry {
	t.Helper()
	for k, v := range env {
		t.Setenv(k, v)
	}
	tel, err := telemetry.New(t.Context(), telemetry.Config{Service: "registry", Version: "v9", Env: env})
	if err != nil {
		t.Fatal(err)
	}
	return tel
}

func count(t *testing.T, m metric.Meter) {
	t.Helper()
	c, err := m.Int64Counter("lease.renewals")
	if err != nil {
		t.Fatal(err)
	}
	c.Add(t.Context(), 3)
}

func scrape(t *testing.T, tel *telemetry.Telemetry) string {
	t.Helper()
	w := httptest.NewRecorder()
	tel.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("metrics answer %d: %s", w.Code, w.Body)
	}
	return w.Body.String()
}

func shutDown(t *testing.T, tel *telemetry.Telemetry) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 10*time.Second)
	defer cancel()
	if err := tel.Shutdown(ctx); err != nil {
		t.Errorf("Shutdown = %v, want nil", err)
	}
}

// collector is an OTLP endpoint that counts what it gets on each path.
func collector(t *testing.T) (url string, metrics, traces *atomic.Int64) {
	t.Helper()
	metrics, traces = new(atomic.Int64), new(atomic.Int64)
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		switch r.URL.Path {
		case "/v1/metrics":
			metrics.Add(1)
		case "/v1/traces":
			traces.Add(1)
		}
	}))
	t.Cleanup(s.Close)
	return s.URL, metrics, traces
}

func TestTwoPartsMayUseTheSameInstrument(t *testing.T) {
	t.Parallel()
	tel, err := telemetry.New(t.Context(), telemetry.Config{Service: "standalone"})
	if err != nil {
		t.Fatal(err)
	}
	defer shutDown(t, tel)
	for _, service := range []string{"registry", "emitter"} {
		c, err := tel.Meter("sluice-" + service).Int64Counter("replies.refused")
		if err != nil {
			t.Fatal(err)
		}
		c.Add(t.Context(), 1, metric.WithAttributes(attribute.String("service", service)))
	}
	body := scrape(t, tel)
	for _, want := range []string{
		"go_goroutines ", `service_name="sluice-standalone"`,
		`sluice_replies_refused_total{service="registry"} 1`, `sluice_replies_refused_total{service="emitter"} 1`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("metrics lack %q:\n%s", want, body)
		}
	}
	if strings.Contains(body, "otel_scope") {
		t.Errorf("the scope shows:\n%s", body)
	}
}

func TestHistogramsOfSecondsTellMillisecondsFromSeconds(t *testing.T) {
	t.Parallel()
	tel, err := telemetry.New(t.Context(), telemetry.Config{Service: "registry"})
	if err != nil {
		t.Fatal(err)
	}
	defer shutDown(t, tel)
	for _, h := range []struct{ name, unit string }{{"request.duration", "s"}, {"event.size", "By"}} {
		hist, err := tel.Meter("x").Float64Histogram(h.name, metric.WithUnit(h.unit))
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range []float64{.002, .004, .3, 4} {
			hist.Record(t.Context(), v)
		}
	}
	body := scrape(t, tel)
	for _, want := range []string{
		`request_duration_seconds_bucket{le="0.005"} 2`, `request_duration_seconds_bucket{le="0.5"} 3`,
		`request_duration_seconds_bucket{le="10"} 4`, `event_size_bytes_bucket{le="5"} 4`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("metrics lack %q:\n%s", want, body)
		}
	}
}

func TestSignalsGoWhereTheEnvironmentSays(t *testing.T) {
	for _, tt := range []struct {
		name            string
		env             map[string]string // ENDPOINT stands for the collector's
		metrics, traces bool
	}{
		{"an endpoint alone gets both", map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "ENDPOINT"}, true, true},
		{
			"an exporter that is off sends nothing",
			map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "ENDPOINT", "OTEL_TRACES_EXPORTER": "none"},
			true, false,
		},
		{
			"prometheus is what is served anyway",
			map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "ENDPOINT", "OTEL_METRICS_EXPORTER": "prometheus"},
			false, true,
		},
		{
			"an endpoint for one signal is for that one",
			map[string]string{"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "ENDPOINT/v1/metrics"},
			true, false,
		},
		{
			"a disabled SDK sends nothing",
			map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "ENDPOINT", "OTEL_SDK_DISABLED": "true"},
			false, false,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			url, metrics, traces := collector(t)
			for k, v := range tt.env {
				tt.env[k] = strings.Replace(v, "ENDPOINT", url, 1)
			}
			tel := newTelemetry(t, tt.env)
			count(t, tel.Meter("m"))
			_, span := tel.Tracer("t").Start(t.Context(), "work")
			span.End()
			if body := scrape(t, tel); !strings.Contains(body, "sluice_lease_renewals_total") {
				t.Errorf("metrics are not served:\n%s", body)
			}
			shutDown(t, tel) // sends what there is
			if got := metrics.Load() > 0; got != tt.metrics {
				t.Errorf("metrics sent: %v, want %v", got, tt.metrics)
			}
			if got := traces.Load() > 0; got != tt.traces {
				t.Errorf("traces sent: %v, want %v", got, tt.traces)
			}
		})
	}
}

func TestNothingIsRecordedForNobody(t *testing.T) {
	t.Parallel()
	tel, err := telemetry.New(t.Context(), telemetry.Config{Service: "registry"})
	if err != nil {
		t.Fatal(err)
	}
	defer shutDown(t, tel)
	_, span := tel.Tracer("t").Start(t.Context(), "work")
	defer span.End()
	if span.IsRecording() {
		t.Error("a span is recorded although no exporter is named")
	}
}

func TestAWrongEnvironmentIsAnErrorThatNamesTheVariable(t *testing.T) {
	for variable, value := range map[string]string{
		"OTEL_METRICS_EXPORTER":    "pigeon",
		"OTEL_TRACES_EXPORTER":     "pigeon",
		"OTEL_SDK_DISABLED":        "perhaps",
		"OTEL_RESOURCE_ATTRIBUTES": "no equals sign",
	} {
		t.Run(variable, func(t *testing.T) {
			t.Setenv(variable, value)
			_, err := telemetry.New(t.Context(), telemetry.Config{Env: map[string]string{variable: value}})
			if err == nil || !strings.Contains(err.Error(), variable) {
				t.Errorf("New = %v, want an error that names %s", err, variable)
			}
		})
	}
}

func TestALineOfTheLogIsJSONWithServiceAndTime(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log, err := telemetry.NewLogger(&out, telemetry.LogConfig{Service: "registry", Level: "warn"})
	if err != nil {
		t.Fatal(err)
	}
	log.Info().Msg("too quiet")
	log.Warn().Str("key", "k").Msg("loud enough")
	var line struct{ Service, Level, Message, Key, Time string }
	if err := json.Unmarshal(out.Bytes(), &line); err != nil {
		t.Fatalf("%v: %s", err, &out)
	}
	if line.Service != "registry" || line.Level != "warn" || line.Message != "loud enough" || line.Key != "k" {
		t.Errorf("line = %+v", line)
	}
	if at, err := time.Parse(time.RFC3339Nano, line.Time); err != nil || time.Since(at) > time.Minute {
		t.Errorf("time = %q, want now", line.Time)
	}
}

func TestTheConsoleFormatIsForPeople(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log, err := telemetry.NewLogger(&out, telemetry.LogConfig{Format: telemetry.FormatConsole})
	if err != nil {
		t.Fatal(err)
	}
	log.Info().Str("key", "k").Msg("hello")
	if got := out.String(); strings.Contains(got, "{") || !strings.Contains(got, "INF hello key=k") {
		t.Errorf("line = %q", got)
	}
}

func TestAWrongLogConfigTellsAllFaults(t *testing.T) {
	t.Parallel()
	_, err := telemetry.NewLogger(io.Discard, telemetry.LogConfig{Level: "loud", Format: "xml"})
	for _, want := range []string{`"loud"`, `"xml"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v lacks %s", err, want)
		}
	}
}

func TestPrometheusOpensNoListenerOfItsOwn(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0") // so that another listener would fail
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	host, port, err := net.SplitHostPort(taken.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	shutDown(t, newTelemetry(t, map[string]string{
		"OTEL_METRICS_EXPORTER":         "prometheus",
		"OTEL_EXPORTER_PROMETHEUS_HOST": host,
		"OTEL_EXPORTER_PROMETHEUS_PORT": port,
	}))
}
