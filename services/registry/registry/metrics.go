package registry

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/sluicehq/sluice/pkg/bus"
	"github.com/sluicehq/sluice/pkg/wire"
)

type metrics struct {
	requests metric.Int64Counter
	latency  metric.Float64Histogram
}

func newMetrics(m metric.Meter) (*metrics, error) {
	requests, err1 := m.Int64Counter("registry.requests", metric.WithUnit("{request}"),
		metric.WithDescription("Requests answered, by verb and err_code (0: none)."))
	latency, err2 := m.Float64Histogram("registry.request.duration", metric.WithUnit("s"),
		metric.WithDescription("Time from a request's arrival to its answer."))
	return &metrics{requests: requests, latency: latency}, errors.Join(err1, err2)
}

func (m *metrics) observe(verb string, bad *wire.Error, took time.Duration) {
	code := 0
	if bad != nil {
		code = int(bad.ErrCode)
	}
	ctx := context.Background()
	m.requests.Add(ctx, 1, metric.WithAttributes(
		attribute.String("verb", verb), attribute.String("err_code", strconv.Itoa(code))))
	m.latency.Record(ctx, took.Seconds(), metric.WithAttributes(attribute.String("verb", verb)))
}

// tally counts answers for `nats service stats`: the micro framework itself
// sees only requests being taken on.
type tally struct {
	mu    sync.Mutex
	verbs map[string]*verbTally
}

type verbTally struct {
	Answered  uint64 `json:"answered"`
	Errors    uint64 `json:"errors"`
	LastError string `json:"last_error,omitempty"`
	AverageNS int64  `json:"average_ns"`
	total     time.Duration
}

func (t *tally) add(verb string, bad *wire.Error, took time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.verbs == nil {
		t.verbs = make(map[string]*verbTally)
	}
	v := t.verbs[verb]
	if v == nil {
		v = &verbTally{}
		t.verbs[verb] = v
	}
	v.Answered++
	v.total += took
	v.AverageNS = int64(v.total) / int64(v.Answered)
	if bad != nil {
		v.Errors++
		v.LastError = bus.HeaderText(bad.Description, maxLastError)
	}
}

func (t *tally) of(verb string) verbTally {
	t.mu.Lock()
	defer t.mu.Unlock()
	if v := t.verbs[verb]; v != nil {
		return *v
	}
	return verbTally{}
}

// maxLastError bounds, in bytes, what a verb's statistics show of its last error.
const maxLastError = 512
