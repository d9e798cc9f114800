package events

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	minSize = 1 << 10
	maxSize = 30 << 10
)

type generator struct {
	seed    uint64
	domains []domain
}

// event makes event i of the seed, from nothing but the two.
func (g generator) event(i uint64) Event {
	r := rand.New(rand.NewPCG(g.seed, i))
	d := pick(r, g.domains)
	e := Event{
		Type:    pick(r, d.types),
		Stream:  d.name + "." + skewed(r, d.streams),
		Headers: g.headers(r, i),
	}
	e.Subject = e.Stream
	if d.bare && r.IntN(2) == 0 {
		e.Subject += "." + e.Type
	} else {
		e.Headers.Set("ce-type", e.Type)
	}
	switch r.IntN(400) {
	case 0:
		e.Data = text(r, minSize)
	case 1:
		e.Data = body(r, d, e.Type, i)
		e.Data = e.Data[:len(e.Data)-1] // the last brace is missing
	default:
		e.Data, e.JSON = body(r, d, e.Type, i), true
	}
	return e
}

// headers makes the headers of event i but for its type. One event in ten has
// no ce-id, and half of those a Nats-Msg-Id instead.
func (g generator) headers(r *rand.Rand, i uint64) nats.Header {
	regions := []string{"eu", "us", "ap", "sa"}
	h := nats.Header{
		"ce-specversion": {"1.0"},
		"ce-source":      {"/shop/" + pick(r, regions) + "/" + strconv.Itoa(r.IntN(8))},
		"ce-time":        {moment(r).Format(time.RFC3339Nano)},
		"content-type":   {"application/json"},
		"x-region":       {pick(r, regions)},
		"X-Tenant":       {"tenant-" + strconv.Itoa(r.IntN(25))},
		"x-priority":     {strconv.Itoa(1 + r.IntN(5))},
	}
	if r.IntN(10) == 0 {
		h.Add("x-region", pick(r, regions)) // only the first counts
	}
	if r.IntN(3) == 0 {
		h.Set("traceparent", fmt.Sprintf("00-%016x%016x-%016x-01", r.Uint64(), r.Uint64(), r.Uint64()))
	}
	id := fmt.Sprintf("%016x-%08d", g.seed, i)
	switch r.IntN(20) {
	case 0:
		h.Set("Nats-Msg-Id", id)
	case 1: // none at all
	default:
		h.Set("ce-id", id)
	}
	return h
}

// moment is some time in the year 2026.
func moment(r *rand.Rand) time.Time {
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	return begin.Add(time.Duration(r.Int64N(int64(365 * 24 * time.Hour))))
}

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

// skewed prefers the first ones, as a few streams have most of the events,
// but leaves each its share.
func skewed[T any](r *rand.Rand, from []T) T {
	if r.IntN(2) == 0 {
		return pick(r, from)
	}
	n := len(from)
	return from[min(r.IntN(n), r.IntN(n), r.IntN(n))]
}

// size is how large a body should become: most are small.
func size(r *rand.Rand) int {
	const spread = maxSize - minSize - 2048 // the end of a body may overshoot
	f := r.Float64()
	return minSize + int(f*f*f*f*f*f*spread)
}
