package registry

import (
	"context"
	"sync"
	"time"

	"github.com/sluicehq/sluice/pkg/wire"
)

const (
	// rejectionPeriod is how long refusals of one kind are gathered into one
	// advisory.
	rejectionPeriod = time.Second
	// maxRejections bounds the kinds of one period that have an advisory of
	// their own; more share one.
	maxRejections = 64
)

// rejections tells of requests without a reply that were refused. The first of a
// kind is told at once, those that follow within a second as one: otherwise
// anybody could fill the stream of advisories with requests that cost nothing.
type rejections struct {
	publish func(what string, a wire.Advisory)

	mu   sync.Mutex
	more map[rejection]*repeated // since the last flush
}

type rejection struct {
	verb, name string
	code       wire.ErrCode
}

type repeated struct {
	last  *wire.Error
	times int // after the one that was told at once
}

func newRejections(publish func(what string, a wire.Advisory)) *rejections {
	return &rejections{publish: publish, more: map[rejection]*repeated{}}
}

// add notes a refusal. Those by a limit are not told: they are the answer to a
// flood, and counted in the metrics.
func (r *rejections) add(verb, name string, bad *wire.Error) {
	if bad.ErrCode == wire.CodeTooMany {
		return
	}
	key := rejection{verb, name, bad.ErrCode}
	r.mu.Lock()
	seen := r.more[key]
	if seen == nil && len(r.more) >= maxRejections {
		key = rejection{}
		seen = r.more[key]
	}
	if seen != nil {
		seen.times++
		seen.last = bad
		r.mu.Unlock()
		return
	}
	r.more[key] = &repeated{}
	r.mu.Unlock()
	r.tell(verb, name, bad, 1)
}

func (r *rejections) tell(verb, name string, bad *wire.Error, times int) {
	data := map[string]any{"verb": verb}
	if times > 1 {
		data["times"] = times
	}
	r.publish(wire.AdvSubscriptionRejected, wire.Advisory{Name: name, Detail: bad.Description, Error: bad, Data: data})
}

// run tells what was gathered, every second until ctx ends.
func (r *rejections) run(ctx context.Context) error {
	tick := time.NewTicker(rejectionPeriod)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			r.flush()
		}
	}
}

func (r *rejections) flush() {
	r.mu.Lock()
	gathered := r.more
	r.more = map[rejection]*repeated{}
	r.mu.Unlock()
	for key, seen := range gathered {
		if seen.times > 0 {
			r.tell(key.verb, key.name, seen.last, seen.times)
		}
	}
}
