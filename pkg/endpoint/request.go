package endpoint

import (
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"github.com/nats-io/nuid"
	"github.com/rs/zerolog"

	"github.com/sluicehq/sluice/pkg/bus"
	"github.com/sluicehq/sluice/pkg/wire"
)

// Request is a request that may be carried out. It is to be answered once,
// from any goroutine, also where nobody waits for the answer: then it is counted.
type Request struct {
	Subject string
	Body    []byte
	Arrived time.Time

	msg      *nats.Msg
	endpoint *served
	service  *Service
}

// Silent reports whether nobody waits for an answer: it had no reply subject.
func (r *Request) Silent() bool { return r.msg.Reply == "" }

// Inbox is where the answer goes, "" where nobody waits for one. Its prefix is
// all that NATS tells of who asked.
func (r *Request) Inbox() string { return r.msg.Reply }

// Answer ends the request: with bad, in the body and in the headers of NATS'
// services, or where that is nil with body, as JSON. An answer that cannot be
// encoded or is larger than NATS takes becomes a fault of ours. Each of those
// gets an id, under which the log has it.
func (r *Request) Answer(body any, bad *wire.Error) error {
	var data []byte
	if bad == nil {
		data, bad = r.encode(body)
	}
	if bad != nil && bad.ErrCode == wire.CodeInternal && bad.ID == "" {
		bad.ID = nuid.Next()
		r.service.cfg.Log.Error().Str("id", bad.ID).Str("verb", r.endpoint.Verb).Str("error", bad.Description).Msg("request failed")
	}
	r.endpoint.count(bad, time.Since(r.Arrived))
	var header nats.Header
	if bad != nil {
		header = nats.Header{
			wire.HeaderServiceError:     {bus.HeaderText(bad.Description, maxDescription)},
			wire.HeaderServiceErrorCode: {strconv.Itoa(bad.Code)},
		}
		var err error
		if data, err = wire.Marshal(wire.Head{Type: wire.ResponseType(r.endpoint.Verb), Error: bad}); err != nil {
			return fmt.Errorf("encode the error of %s: %w", r.endpoint.Verb, err)
		}
	}
	if err := r.service.cfg.Responder.Answer(r.msg, data, header); err != nil {
		return fmt.Errorf("answer %s: %w", r.endpoint.Verb, err)
	}
	return nil
}

// encode makes the answer that somebody waits for.
func (r *Request) encode(body any) ([]byte, *wire.Error) {
	if r.Silent() {
		return nil, nil
	}
	data, err := wire.Marshal(body)
	switch limit := r.service.nc.MaxPayload(); {
	case err != nil:
		return nil, wire.Errorf(wire.CodeInternal, "the answer cannot be encoded: %s", err)
	case limit > 0 && int64(len(data)) > limit:
		return nil, wire.Errorf(wire.CodeInternal, "the answer has %d bytes, and NATS takes %d", len(data), limit)
	}
	return data, nil
}

// maxDescription bounds, in bytes, a description in a header or in statistics;
// the body of the answer has all of it.
const maxDescription = 512

// served is an endpoint with its statistics.
type served struct {
	Endpoint

	mu        sync.Mutex
	requests  int
	errors    int
	lastError string
	total     time.Duration
}

// count counts a request that ended with bad, or with nil.
func (e *served) count(bad *wire.Error, took time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.requests++
	e.total += took
	if bad != nil {
		e.errors++
		e.lastError = fmt.Sprintf("%d:%s", bad.Code, bus.HeaderText(bad.Description, maxDescription))
	}
}

func (e *served) stats(log zerolog.Logger) *micro.EndpointStats {
	out := &micro.EndpointStats{Name: e.Name, Subject: e.Subject, QueueGroup: queue}
	if e.Data != nil { // without the lock: it is not ours
		data, err := wire.Marshal(e.Data())
		if err != nil {
			log.Error().Err(err).Str("endpoint", e.Name).Msg("statistics cannot be encoded")
		}
		out.Data = data
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	out.NumRequests, out.NumErrors, out.LastError, out.ProcessingTime = e.requests, e.errors, e.lastError, e.total
	if e.requests > 0 {
		out.AverageProcessingTime = e.total / time.Duration(e.requests)
	}
	return out
}
