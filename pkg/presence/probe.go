package presence

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
)

// Headers of a trace-only message.
const (
	headerTraceOnly = "Nats-Trace-Only"
	headerTraceDest = "Nats-Trace-Dest"
)

// window bounds the probes that are under way at once, so that their traces
// never overflow the inbox.
const window = 128

// Prober asks who listens.
type Prober struct {
	nc      *nats.Conn
	ours    func(stream string) bool
	timeout time.Duration
}

// New returns a prober that sends its probes on nc. Streams for which ours
// returns true do not count. Each window of probes is waited for at most
// timeout.
func New(nc *nats.Conn, ours func(stream string) bool, timeout time.Duration) *Prober {
	return &Prober{nc: nc, ours: ours, timeout: timeout}
}

// Probe returns who listens on each of the given literal subjects. Nothing is
// delivered to anybody. Subjects that the servers do not tell about come back
// with Known false; the error is for probes that could not be sent at all.
func (p *Prober) Probe(ctx context.Context, subjects []string) (map[string]Listeners, error) {
	out := make(map[string]Listeners, len(subjects))
	if len(subjects) == 0 {
		return out, nil
	}
	if v := p.nc.ConnectedServerVersion(); !traces(v) {
		for _, s := range subjects {
			out[s] = Listeners{Reason: fmt.Sprintf("server %q cannot trace without delivering", v)}
		}
		return out, nil
	}
	for some := range slices.Chunk(subjects, window) {
		found, err := p.round(ctx, func(r *round) error {
			for _, s := range some {
				if err := r.probe(s); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		for i, s := range some {
			out[s] = found[i]
		}
	}
	return out, nil
}

// traces reports whether a server of this version knows trace-only messages;
// an older one would deliver them.
func traces(version string) bool {
	var major, minor int
	n, _ := fmt.Sscanf(version, "%d.%d", &major, &minor) // fewer where it is no version
	return n == 2 && (major > 2 || major == 2 && minor >= 11)
}
