package presence

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
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
	inbox := p.nc.NewInbox()
	sub, err := p.nc.SubscribeSync(inbox + ".*")
	if err != nil {
		return nil, fmt.Errorf("subscribe to traces: %w", err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	for from := 0; from < len(subjects); from += window {
		to := min(from+window, len(subjects))
		dests := make(map[string]string, to-from) // inbox → subject
		for i := from; i < to; i++ {
			dests[inbox+"."+strconv.Itoa(i)] = subjects[i]
		}
		if err := p.batch(ctx, sub, dests, out); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// batch probes up to window subjects together, each with an inbox of its own
// below that of sub.
func (p *Prober) batch(ctx context.Context, sub *nats.Subscription, dests map[string]string,
	out map[string]Listeners,
) error {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	paths := make(map[string]*path, len(dests))
	for dest, s := range dests {
		m := nats.NewMsg(s)
		m.Header.Set(headerTraceOnly, "true")
		m.Header.Set(headerTraceDest, dest)
		if err := p.nc.PublishMsg(m); err != nil {
			return fmt.Errorf("probe %q: %w", s, err)
		}
		paths[dest] = newPath()
	}
	for open := len(paths); open > 0; {
		m, err := sub.NextMsgWithContext(ctx)
		if errors.Is(err, context.DeadlineExceeded) {
			break // what has not answered is not known
		}
		if err != nil {
			return fmt.Errorf("wait for traces: %w", err)
		}
		pt := paths[m.Subject]
		if pt == nil || pt.complete() {
			continue // a straggler of the window before
		}
		if err := pt.add(m.Data, p.ours); err != nil {
			pt.blind = err.Error()
		}
		if pt.complete() {
			open--
		}
	}
	for dest, s := range dests {
		out[s] = paths[dest].result()
	}
	return nil
}

// traces reports whether a server of this version knows trace-only messages;
// an older one would deliver them.
func traces(version string) bool {
	major, rest, ok := strings.Cut(version, ".")
	if !ok {
		return false
	}
	minor, _, _ := strings.Cut(rest, ".")
	a, err1 := strconv.Atoi(major)
	b, err2 := strconv.Atoi(minor)
	return err1 == nil && err2 == nil && (a > 2 || a == 2 && b >= 11)
}
