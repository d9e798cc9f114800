package preview

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/sluicehq/sluice/pkg/feed"
	"github.com/sluicehq/sluice/pkg/jsapi"
	"github.com/sluicehq/sluice/pkg/selector"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/internal/event"
	"github.com/sluicehq/sluice/services/internal/match"
)

// Config of a Previewer.
type Config struct {
	JetStream jetstream.JetStream
	Owner     feed.Owner
	Log       zerolog.Logger
	// ReadFor is how long a range is read from its beginning, SampleFor how long
	// the rest may take. Default to 1.5s and 1s.
	ReadFor, SampleFor time.Duration
}

// Previewer counts.
type Previewer struct{ cfg Config }

// New returns a Previewer.
func New(cfg Config) *Previewer {
	if cfg.ReadFor == 0 {
		cfg.ReadFor = 1500 * time.Millisecond
	}
	if cfg.SampleFor == 0 {
		cfg.SampleFor = time.Second
	}
	return &Previewer{cfg}
}

// Range is what is to be counted.
type Range struct {
	Store         string
	From, To      uint64 // both included; none where To is below From
	Matcher, Also *selector.Matcher
	OrderBy       wire.OrderBy
}

// samples is how many parts the rest of a range is divided into at most, and
// sampling how many of them are looked at at once.
const (
	samples  = 8192
	sampling = 16
)

// ErrSilent is in the error of a count that JetStream did not answer in time.
var ErrSilent = errors.New("JetStream did not answer in time")

// Count counts what lies in a range. It stops early, with a lower bound, where it
// has found more than enough events; 0 is no limit.
func (p *Previewer) Count(ctx context.Context, r Range, enough uint64) (wire.ReplayPreview, error) {
	all := newTally(r)
	out := wire.ReplayPreview{FromSequence: r.From, ToSequence: r.To, Exact: true}
	if r.To < r.From {
		return out, nil
	}
	rd := reading{Range: r, into: all, enough: enough}
	whole, err := p.read(ctx, &rd)
	if err != nil {
		return out, err
	}
	low, high := all.events, all.events
	rest := Range{Store: r.Store, From: rd.reached + 1, To: r.To, Matcher: r.Matcher, Also: r.Also, OrderBy: r.OrderBy}
	switch {
	case whole:
	case enough > 0 && all.events > enough:
		out.Exact, high = false, all.events+rest.To-rest.From+1
	default:
		drawn, n, err := p.sample(ctx, rest)
		if n == 0 {
			return out, fmt.Errorf("count the events of store %q: %w", r.Store, errors.Join(ErrSilent, err))
		}
		out.Exact = false
		size := float64(rest.To - rest.From + 1)
		a, b := interval(drawn.events, n)
		low, high = low+uint64(a*size), high+uint64(b*size+0.5)
		all.plus(drawn, size/float64(n))
		if n, ok := p.countSubjects(ctx, r); ok {
			all.become(n)
			low, high = n, n
		}
	}
	out.Events, out.Bytes, out.Low, out.High = all.events, all.bytes, low, high
	out.Looked, out.Costly, out.First, out.Last, out.Partial = all.looked, all.costly, all.first, all.last, all.partial
	out.ByType, out.ByKey = most(all.types), most(all.keys)
	return out, nil
}

// countSubjects has the server count a range, which knows subjects only. It is not
// ok where more than these is asked for, or the server cannot.
func (p *Previewer) countSubjects(ctx context.Context, r Range) (n uint64, ok bool) {
	if r.Also != nil || r.Matcher.Types() != nil || r.Matcher.HasPatterns() {
		return 0, false
	}
	ctx, cancel := context.WithTimeout(ctx, p.cfg.SampleFor)
	defer cancel()
	var after [2]uint64
	for i, seq := range []uint64{r.From - 1, r.To} {
		var err error
		after[i], err = feed.Pending(ctx, p.cfg.JetStream, feed.Config{
			Stream: r.Store, After: seq, Filters: r.Matcher.Subjects(), Owner: p.cfg.Owner, Purpose: "counts events for the preview of a replay", Log: p.cfg.Log,
		})
		if err != nil {
			p.cfg.Log.Debug().Err(err).Str("store", r.Store).Msg("events are not counted by subject")
			return 0, false
		}
	}
	// What is stored between the two counts is in the second alone.
	return after[0] - min(after[0], after[1]), true
}

// reading reads a range from its beginning.
type reading struct {
	Range
	into    *tally
	enough  uint64
	reached uint64 // everything up to here has been looked at

	filters match.Filters
	begun   bool
	whole   bool // all of it has been
	dear    bool // without filters it is faster
}

// read reads for as long as it may, and reports whether that was all.
func (p *Previewer) read(ctx context.Context, rd *reading) (whole bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.ReadFor)
	defer cancel()
	rd.reached, rd.filters = rd.From-1, match.Filters{}.With(rd.Matcher)
	for {
		again, err := p.readWith(ctx, rd)
		switch {
		case again:
			rd.filters, rd.dear, rd.begun = nil, false, false
		case err != nil && !rd.begun && ctx.Err() == nil:
			return false, err
		default:
			return rd.whole, nil
		}
	}
}

func (p *Previewer) readWith(ctx context.Context, rd *reading) (again bool, err error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	err = feed.Read(ctx, p.cfg.JetStream, feed.Config{
		Stream: rd.Store, After: rd.reached, Filters: rd.filters, Owner: p.cfg.Owner,
		Purpose: "counts events for the preview of a replay", Log: p.cfg.Log,
	}, func(m feed.Msg) {
		if !rd.take(m) {
			stop()
		}
	})
	if err == nil {
		rd.whole = true // the server had nothing more
	}
	return rd.dear, err
}

// many is how many events must be left before filters are held against what they
// bring, as readers do it.
const (
	many  = 1000
	share = 10
)

// take takes a message, and reports whether there is to be another one.
func (rd *reading) take(m feed.Msg) bool {
	if !rd.begun {
		rd.begun = true
		rd.dear = rd.filters != nil && m.Pending >= many && m.Pending > (rd.To-min(rd.reached, rd.To))/share
		if rd.dear {
			return false
		}
	}
	if m.Sequence > rd.To {
		rd.reached, rd.whole = rd.To, true
		return false
	}
	rd.into.add(event.New(rd.Store, selector.Message{Sequence: m.Sequence, Time: m.Time, Subject: m.Subject, Header: m.Header, Data: m.Data}))
	rd.reached = m.Sequence
	rd.whole = m.Sequence == rd.To
	return !rd.whole && (rd.enough == 0 || rd.into.events <= rd.enough)
}

// sample draws by lot from a range, and returns how many sequences it looked at.
func (p *Previewer) sample(ctx context.Context, r Range) (drawn *tally, n uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.SampleFor)
	defer cancel()
	next := make(chan uint64, samples)
	for _, seq := range draw(r.From, r.To, samples) {
		next <- seq
	}
	close(next)
	found := make(chan *event.Event)
	g, gctx := errgroup.WithContext(ctx)
	for range sampling {
		g.Go(func() error { return p.look(gctx, r.Store, next, found) })
	}
	ended := make(chan error, 1)
	go func() { ended <- g.Wait() }() // which sample waits for
	for drawn = newTally(r); ; {
		select {
		case e := <-found:
			if n++; e != nil {
				drawn.add(e)
			}
		case err := <-ended:
			return drawn, n, err
		}
	}
}

// look gets the events at some sequences, until ctx ends.
func (p *Previewer) look(ctx context.Context, store string, seqs <-chan uint64, found chan<- *event.Event) error {
	for seq := range seqs {
		e, err := p.get(ctx, store, seq)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		}
		select {
		case found <- e:
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

// get returns the event at a sequence, nil where the store lacks it.
func (p *Previewer) get(ctx context.Context, store string, seq uint64) (*event.Event, error) {
	m, err := jsapi.GetMsg(ctx, p.cfg.JetStream, store, map[string]any{"seq": seq})
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read event %d of store %q: %w", seq, store, err)
	}
	return event.New(store, selector.Message{Sequence: m.Sequence, Time: m.Time, Subject: m.Subject, Header: m.Header, Data: m.Data}), nil
}

// draw divides a range into at most n equal parts, and draws one sequence of each.
// They come in no order, so that the first few are as good a choice as all.
func draw(from, to uint64, n int) []uint64 {
	size := to - from + 1
	parts := min(uint64(n), size)
	seqs := make([]uint64, 0, parts)
	for i := range parts {
		a, b := part(i, size, parts), part(i+1, size, parts)
		seqs = append(seqs, from+a+rand.Uint64N(b-a))
	}
	rand.Shuffle(len(seqs), func(i, j int) { seqs[i], seqs[j] = seqs[j], seqs[i] })
	return seqs
}

// part is where the i-th of several parts of a size begins.
func part(i, size, parts uint64) uint64 {
	return i*(size/parts) + min(i, size%parts)
}
