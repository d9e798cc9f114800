package presence

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
)

// Sending is a message that is sent between two probes of its subject.
type Sending struct {
	Subject string
	Send    func()
}

// Around sends each message between two probes, one right behind the other, and
// returns for each who listened just before and just behind. Where both found
// somebody, the message found somebody too, if Send sends on the prober's own
// connection. After an error what follows is not sent.
func (p *Prober) Around(ctx context.Context, sendings []Sending) ([][2]Listeners, error) {
	out := make([][2]Listeners, 0, len(sendings))
	for len(sendings) > 0 {
		some := sendings[:min(len(sendings), window/2)]
		sendings = sendings[len(some):]
		found, err := p.round(ctx, func(r *round) error {
			for _, s := range some {
				if err := r.probe(s.Subject); err != nil {
					return err
				}
				s.Send()
				if err := r.probe(s.Subject); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return out, err
		}
		for i := range some {
			out = append(out, [2]Listeners{found[2*i], found[2*i+1]})
		}
	}
	return out, nil
}

// round is a few probes that are waited for together, each with an inbox of its
// own below that of sub.
type round struct {
	nc    *nats.Conn
	sub   *nats.Subscription
	inbox string
	paths []*path
	open  int // paths that are not complete
}

// round has write send its probes, and returns what was learnt by each, in their
// order.
func (p *Prober) round(ctx context.Context, write func(r *round) error) ([]Listeners, error) {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	r := &round{nc: p.nc, inbox: p.nc.NewInbox() + "."}
	var err error
	if r.sub, err = p.nc.SubscribeSync(r.inbox + "*"); err != nil {
		return nil, fmt.Errorf("subscribe to traces: %w", err)
	}
	defer func() { _ = r.sub.Unsubscribe() }()
	if err := write(r); err != nil {
		return nil, err
	}
	if err := r.wait(ctx, p.ours); err != nil {
		return nil, err
	}
	found := make([]Listeners, len(r.paths))
	for i, path := range r.paths {
		found[i] = path.result()
	}
	return found, nil
}

// probe sends a probe of subject.
func (r *round) probe(subject string) error {
	m := nats.NewMsg(subject)
	m.Header.Set(headerTraceOnly, "true")
	m.Header.Set(headerTraceDest, r.inbox+strconv.Itoa(len(r.paths)))
	if err := r.nc.PublishMsg(m); err != nil {
		return fmt.Errorf("probe %q: %w", subject, err)
	}
	r.paths = append(r.paths, new(path))
	r.open++
	return nil
}

// wait takes the traces, until all have come or the time is over: what has not
// answered by then is not known.
func (r *round) wait(ctx context.Context, ours func(stream string) bool) error {
	for r.open > 0 {
		m, err := r.sub.NextMsgWithContext(ctx)
		if errors.Is(err, context.DeadlineExceeded) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("wait for traces: %w", err)
		}
		i, err := strconv.Atoi(m.Subject[len(r.inbox):])
		if err != nil || i < 0 || i >= len(r.paths) || r.paths[i].complete() {
			continue // a stranger's
		}
		pt := r.paths[i]
		if err := pt.add(m.Data, ours); err != nil {
			pt.blind = err.Error()
		}
		if pt.complete() {
			r.open--
		}
	}
	return nil
}
