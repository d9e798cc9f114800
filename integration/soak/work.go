package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sluicehq/sluice/integration/lab"
	"github.com/sluicehq/sluice/pkg/client"
	"github.com/sluicehq/sluice/pkg/wire"
)

// calls counts requests and how long they took.
type calls struct {
	mu     sync.Mutex
	took   []time.Duration
	failed []string // the first ones
	fails  int
}

func (c *calls) do(what string, call func() error) error {
	begin := time.Now()
	err := call()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.took = append(c.took, time.Since(begin))
	if err == nil {
		return nil
	}
	if c.fails++; len(c.failed) < 5 {
		c.failed = append(c.failed, fmt.Sprintf("%s: %v", what, err))
	}
	return err
}

// request is do for a request whose failure is only counted. One that the end
// of the load cut short does not count.
func (s *soak) request(ctx context.Context, what string, call func(context.Context) error) bool {
	return s.calls.do(what, func() error {
		return call(context.WithoutCancel(ctx)) // the client bounds it
	}) == nil
}

// lived is how long a subscription under a new name is there.
const lived = 5 * time.Second

// useNames subscribes under new names, each for a while, and removes them.
func (s *soak) useNames(ctx context.Context) error {
	if s.o.names == 0 {
		return nil
	}
	var g errgroup.Group
	n := 0
	err := every(ctx, time.Duration(float64(time.Second)/s.o.names), func() error {
		name := "once-" + strconv.Itoa(n)
		spec := client.Spec{
			Store: store, Selector: kinds()[0].selector(n % groups),
			Deliver: client.Deliver{Subject: "soakonce", Mode: wire.ModePublish},
		}
		n++
		g.Go(func() error {
			if !s.request(ctx, "subscribe", func(ctx context.Context) error {
				_, err := s.c.Subscribe(ctx, name, spec)
				return err
			}) {
				return nil
			}
			_ = lab.Pause(ctx, lived) // it is removed in any case
			s.request(ctx, "unsubscribe", func(ctx context.Context) error {
				_, err := s.c.Unsubscribe(ctx, name)
				return err
			})
			return nil
		})
		return nil
	})
	_ = g.Wait() // its errors are counted
	return err
}

func (s *soak) any() *subscription { return s.subs[rand.IntN(len(s.subs))] }

// pause pauses a subscription every two seconds and resumes it two seconds later.
func (s *soak) pause(ctx context.Context) error {
	var paused *subscription
	resume := func() {
		if paused == nil {
			return
		}
		s.request(ctx, "resume", func(ctx context.Context) error {
			_, err := s.c.Resume(ctx, paused.name)
			return err
		})
	}
	defer func() { resume() }() // the last one, too
	return every(ctx, 2*time.Second, func() error {
		resume()
		paused = s.any()
		s.request(ctx, "pause", func(ctx context.Context) error {
			_, err := s.c.Pause(ctx, paused.name)
			return err
		})
		return nil
	})
}

// back is how far a seek goes back.
const back = 1000

// seek moves a subscription back every five seconds.
func (s *soak) seek(ctx context.Context) error {
	return every(ctx, 5*time.Second, func() error {
		sub := s.any()
		var at uint64
		if !s.request(ctx, "get", func(ctx context.Context) error {
			got, err := s.c.Get(ctx, sub.name)
			if err == nil && got.Pool != nil {
				at = got.Pool.Checkpoint.Floor
			}
			return err
		}) || at <= back {
			return nil
		}
		s.request(ctx, "seek", func(ctx context.Context) error {
			_, err := s.c.Seek(ctx, sub.name, wire.SeekRequest{To: client.FromSequence(at - back)})
			return err
		})
		return nil
	})
}

// vanish takes the subscribers that do so away for some seconds.
func (s *soak) vanish(ctx context.Context) error {
	return every(ctx, 30*time.Second, func() error {
		for _, sub := range s.subs {
			if sub.manner == mannerVanishes {
				if err := sub.silence(); err != nil {
					return err
				}
			}
		}
		_ = lab.Pause(ctx, 5*time.Second) // they come back in any case
		for _, sub := range s.subs {
			if sub.manner == mannerVanishes {
				if err := sub.listen(s.w.NC); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// killEmitters has a second emitter that is killed at an interval.
func (s *soak) killEmitters(ctx context.Context) error {
	if s.o.kill == 0 {
		return nil
	}
	whole := context.WithoutCancel(ctx) // a process of the lab ends with the context it was started under
	second := func() (*lab.Process, error) { return s.w.Service(whole, wire.ServiceEmitter, s.env()...) }
	victim, err := second()
	if err != nil {
		return err
	}
	return every(ctx, s.o.kill, func() error {
		victim.Kill()
		s.watch.kills.Add(1)
		_ = lab.Pause(ctx, min(s.o.kill/10, 5*time.Second)) // every sees to the end
		victim, err = second()
		return err
	})
}

// settle waits until every subscription has every event that it wants, and
// returns those that have not, when patience has run out.
func (s *soak) settle(ctx context.Context) (late []*subscription) {
	ctx, cancel := context.WithTimeout(ctx, s.o.patience)
	defer cancel()
	n := int(s.watch.published.Load())
	late = s.subs
	_ = every(ctx, time.Second, func() error { // it ends by its context or by errSettled
		late = slices.DeleteFunc(slices.Clone(late), func(sub *subscription) bool {
			missing, _ := sub.missing(n)
			return missing == 0
		})
		if len(late) == 0 {
			return errSettled
		}
		return nil
	})
	return late
}
