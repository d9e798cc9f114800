package webhook

import (
	"context"
	"net/http"
	"slices"
	"sync"

	"github.com/rs/zerolog"
)

// Sender makes the requests of all targets of an instance.
type Sender struct {
	perHost   int
	client    *http.Client
	transport *http.Transport
	dialer    *dialer
	secrets   Secrets
	log       zerolog.Logger
	wake      chan struct{} // some hosts need workers

	mu    sync.Mutex
	hosts map[string]*host // that have a worker, or need one
	needs []*host          // one for each worker that is to be started
}

// host is one that requests are made to, over all targets.
type host struct {
	name    string
	workers int       // that hold a slot, or will
	waiting []*Target // that have deliveries in their queue
}

// New returns a sender that sends nothing before Run.
func New(c Config, log zerolog.Logger) (*Sender, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	may, err := parseAllowed(c.Allow)
	if err != nil {
		return nil, err
	}
	d := newDialer(may, c.Resolver)
	tr := newTransport(c, d)
	return &Sender{
		perHost: c.PerHost, dialer: d, transport: tr, client: &http.Client{Transport: tr, CheckRedirect: stay},
		secrets: c.Secrets, log: log, wake: make(chan struct{}, 1), hosts: map[string]*host{},
	}, nil
}

// Run makes requests until ctx ends. Requests that are out then are cut off, and
// get no answer.
func (s *Sender) Run(ctx context.Context) error {
	defer s.transport.CloseIdleConnections()
	var workers sync.WaitGroup
	defer workers.Wait()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
			for _, h := range s.needed() {
				workers.Go(func() { s.work(ctx, h) })
			}
		}
	}
}

// needed returns a host for each worker that is to be started.
func (s *Sender) needed() []*host {
	s.mu.Lock()
	defer s.mu.Unlock()
	needs := s.needs
	s.needs = nil
	return needs
}

// work makes the requests that wait for a host, one after the other.
func (s *Sender) work(ctx context.Context, h *host) {
	for ctx.Err() == nil {
		t, j := s.next(h)
		if t == nil {
			return
		}
		t.deliver(ctx, j)
		s.done(t)
	}
}

// next takes out what a worker of a host is to send. It returns nil, and the
// worker ends, where nothing waits.
func (s *Sender) next(h *host) (*Target, job) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(h.waiting) == 0 {
		if h.workers--; h.workers == 0 {
			delete(s.hosts, h.name)
		}
		return nil, job{}
	}
	t := slices.MinFunc(h.waiting, func(a, b *Target) int { return a.out - b.out })
	j := t.queue[0]
	t.queue = t.queue[1:]
	t.out++
	h.dropIdle(t)
	return t, j
}

// done notes that a request of a target has ended.
func (s *Sender) done(t *Target) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t.out--
}

// dropIdle takes a target off those that wait, if it has nothing in its queue.
func (h *host) dropIdle(t *Target) {
	if len(t.queue) > 0 {
		return
	}
	t.queue = nil // with what it held
	h.waiting = slices.DeleteFunc(h.waiting, func(w *Target) bool { return w == t })
}

// add puts a delivery into the queue of its target, and has a worker started if
// the host has a slot free.
func (s *Sender) add(t *Target, j job) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.hosts[t.host]
	if h == nil {
		h = &host{name: t.host}
		s.hosts[t.host] = h
	}
	t.queue = append(t.queue[t.givenUp(j.at):], j)
	if !slices.Contains(h.waiting, t) {
		h.waiting = append(h.waiting, t)
	}
	if h.workers == s.perHost {
		return
	}
	h.workers++
	s.needs = append(s.needs, h)
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// remove empties the queue of a target.
func (s *Sender) remove(t *Target) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t.queue = nil
	if h := s.hosts[t.host]; h != nil {
		h.dropIdle(t)
	}
}
