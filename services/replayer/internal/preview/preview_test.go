package preview

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
	"pgregory.net/rapid"

	"github.com/sluicehq/sluice/pkg/feed"
	"github.com/sluicehq/sluice/pkg/natstest"
	"github.com/sluicehq/sluice/pkg/selector"
	"github.com/sluicehq/sluice/pkg/wire"
)

// fill makes a store of n events: of every tenth the type is rare.
func fill(tb testing.TB, n int) jetstream.JetStream {
	tb.Helper()
	js := natstest.Start(tb).JetStream()
	_, err := js.CreateStream(tb.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"a.>"}, Storage: jetstream.MemoryStorage})
	if err != nil {
		tb.Fatal(err)
	}
	for i := range n {
		kind := "often"
		if i%10 == 9 {
			kind = "rare"
		}
		m := nats.NewMsg(fmt.Sprintf("a.%d.%s", i%3, kind))
		m.Data = []byte("12345")
		if _, err := js.PublishMsgAsync(m); err != nil {
			tb.Fatal(err)
		}
		if i%1000 == 999 {
			<-js.PublishAsyncComplete()
		}
	}
	<-js.PublishAsyncComplete()
	return js
}

func rangeOf(tb testing.TB, from, to uint64, s wire.Selector) Range {
	tb.Helper()
	m, err := selector.Compile(s)
	if err != nil {
		tb.Fatal(err)
	}
	return Range{Store: "S", From: from, To: to, Matcher: m}
}

func newPreviewer(js jetstream.JetStream) *Previewer {
	return New(Config{JetStream: js, Owner: feed.Owner{Namespace: "n", Service: "s", Instance: "i"}, Log: zerolog.Nop(), ReadFor: 20 * time.Second, SampleFor: 20 * time.Second})
}

func count(t *testing.T, p *Previewer, r Range, enough uint64) wire.ReplayPreview {
	t.Helper()
	got, err := p.Count(t.Context(), r, enough)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestARangeThatIsReadInTimeIsCountedExactly(t *testing.T) {
	t.Parallel()
	p := newPreviewer(fill(t, 6000))
	types := wire.Selector{ByEventType: wire.StringList{"rare"}}
	for _, tt := range []struct {
		name     string
		s        wire.Selector
		from, to uint64
		want     uint64
		first    uint64
		last     uint64
		looked   uint64
	}{
		{"all", wire.Selector{ByStream: wire.StringList{"$all"}}, 1, 6000, 6000, 1, 6000, 6000},
		{"a part of it", wire.Selector{ByStream: wire.StringList{"$all"}}, 1001, 2000, 1000, 1001, 2000, 1000},
		{"a type", types, 1, 6000, 600, 10, 6000, 6000},
		{"a few subjects, by the server", wire.Selector{ByStream: wire.StringList{"a.1.rare"}}, 1, 6000, 200, 20, 5990, 200},
		{"many subjects, without the server", wire.Selector{ByStream: wire.StringList{"a.1.>"}}, 1, 6000, 2000, 2, 5999, 6000},
		{"none", wire.Selector{ByStream: wire.StringList{"a.9.>"}}, 1, 6000, 0, 0, 0, 0},
		{"nothing", types, 7, 6, 0, 0, 0, 0},
		{"one", types, 10, 10, 1, 10, 10, 1},
	} {
		got := count(t, p, rangeOf(t, tt.from, tt.to, tt.s), 0)
		if !got.Exact || got.Events != tt.want || got.Low != tt.want || got.High != tt.want || got.Bytes != 5*tt.want || got.Looked != tt.looked {
			t.Errorf("%s: %+v, want %d", tt.name, got, tt.want)
		}
		if tt.want > 0 && (got.First.Sequence != tt.first || got.Last.Sequence != tt.last || got.First.Time.IsZero()) {
			t.Errorf("%s: %+v to %+v", tt.name, got.First, got.Last)
		}
	}
}

func TestTheMostFrequentTypesAndKeysAreNamed(t *testing.T) {
	t.Parallel()
	p := newPreviewer(fill(t, 300))
	r := rangeOf(t, 1, 300, wire.Selector{ByStream: wire.StringList{"$all"}})
	r.OrderBy = wire.OrderBy{Kind: wire.OrderToken, Token: 2}
	got := count(t, p, r, 0)
	if fmt.Sprint(got.ByType, got.ByKey) != "[{often 270} {rare 30}] [{0 100} {1 100} {2 100}]" {
		t.Errorf("by type %v, by key %v", got.ByType, got.ByKey)
	}
}

func TestACountThatHasEnoughStops(t *testing.T) {
	t.Parallel()
	p := newPreviewer(fill(t, 3000))
	got := count(t, p, rangeOf(t, 1, 3000, wire.Selector{ByStream: wire.StringList{"$all"}}), 100)
	if got.Exact || got.Low != 101 || got.High != 3000 || got.Looked != 101 {
		t.Errorf("%+v", got)
	}
}

func TestARangeThatIsNotReadInTimeIsEstimated(t *testing.T) {
	t.Parallel()
	js := fill(t, 30_000)
	s, err := js.Stream(t.Context(), "S")
	if err != nil {
		t.Fatal(err)
	}
	for seq := uint64(1); seq < 30_000; seq += 100 { // what is not there counts as nothing
		if err := s.DeleteMsg(t.Context(), seq); err != nil {
			t.Fatal(err)
		}
	}
	p := newPreviewer(js)
	p.cfg.ReadFor = time.Nanosecond
	got := count(t, p, rangeOf(t, 1, 30_000, wire.Selector{ByEventType: wire.StringList{"often"}}), 0)
	const want = 27_000 - 300
	if got.Exact || got.Low > want || got.High < want || got.High-got.Low > want/20 || got.Events < got.Low || got.Events > got.High {
		t.Errorf("%+v, want about %d", got, want)
	}
	if b := float64(got.Bytes) / float64(got.Events); b < 4.9 || b > 5.1 {
		t.Errorf("%d bytes of %d events", got.Bytes, got.Events)
	}
	if n := got.ByType[0].Events; n < got.Low || n > got.High {
		t.Errorf("by type %v", got.ByType)
	}
}

func TestWhatIsAskedForBySubjectAloneIsCountedByTheServer(t *testing.T) {
	t.Parallel()
	js := fill(t, 6000)
	s, err := js.Stream(t.Context(), "S")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteMsg(t.Context(), 3002); err != nil {
		t.Fatal(err)
	}
	p := newPreviewer(js)
	p.cfg.ReadFor = time.Nanosecond
	for _, tt := range []struct {
		name    string
		filters wire.StringList
		want    uint64
	}{
		{"all", wire.StringList{"$all"}, 2999},
		{"a filter", wire.StringList{"a.1.>"}, 999},
		{"two filters", wire.StringList{"a.1.rare", "a.2.>"}, 1100},
	} {
		got := count(t, p, rangeOf(t, 2001, 5000, wire.Selector{ByStream: tt.filters}), 0)
		if got.Exact || got.Events != tt.want || got.Low != tt.want || got.High != tt.want {
			t.Errorf("%s: %+v, want %d", tt.name, got, tt.want)
		}
		if b := float64(got.Bytes) / float64(got.Events); b < 4.99 || b > 5.01 {
			t.Errorf("%s: %d bytes of %d events", tt.name, got.Bytes, got.Events)
		}
	}
	info, err := s.Info(t.Context())
	if err != nil || info.State.Consumers != 0 {
		t.Errorf("%d consumers are left, %v", info.State.Consumers, err)
	}
}

func TestWhatWasNotFoundIsNotProvenToBeAbsent(t *testing.T) {
	t.Parallel()
	p := newPreviewer(fill(t, 20_000))
	p.cfg.ReadFor = time.Nanosecond
	got := count(t, p, rangeOf(t, 1, 20_000, wire.Selector{ByEventType: wire.StringList{"never"}}), 0)
	if got.Exact || got.Events != 0 || got.Low != 0 || got.High == 0 || got.High > 100 {
		t.Errorf("%+v", got)
	}
}

func TestAStoreThatIsAwayIsNotCounted(t *testing.T) {
	t.Parallel()
	p := newPreviewer(natstest.Start(t).JetStream())
	p.cfg.ReadFor, p.cfg.SampleFor = 100*time.Millisecond, 100*time.Millisecond
	if got, err := p.Count(t.Context(), rangeOf(t, 1, 9, wire.Selector{ByStream: wire.StringList{"$all"}}), 0); err == nil {
		t.Errorf("counted %+v", got)
	}
}

// TestTheIntervalHoldsAsOftenAsItSays draws as sample does, from shares of all
// kinds.
func TestTheIntervalHoldsAsOftenAsItSays(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for _, share := range []float64{0, 0.001, 0.01, 0.3, 0.5, 0.95, 1} {
		held := 0
		const runs, n = 2000, 500
		for range runs {
			hits := uint64(0)
			for range n {
				if random.Float64() < share {
					hits++
				}
			}
			if low, high := interval(hits, n); low <= share && share <= high {
				held++
			}
		}
		if held < runs*90/100 { // Wilson's is near 95 % on average, and below for some small shares
			t.Errorf("a share of %v: held in %d of %d", share, held, runs)
		}
	}
	if low, high := interval(0, 0); low != 0 || high != 1 {
		t.Errorf("of nothing: %v to %v", low, high)
	}
}

func TestOneSequenceIsDrawnOfEachPart(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		from := rapid.Uint64Range(1, 1<<60).Draw(t, "from")
		size := rapid.Uint64Range(1, 5000).Draw(t, "size")
		n := rapid.IntRange(1, 300).Draw(t, "n")
		parts := min(uint64(n), size)
		seen := map[uint64]bool{}
		for _, seq := range draw(from, from+size-1, n) {
			if seq < from || seq > from+size-1 {
				t.Fatalf("%d is outside of %d to %d", seq, from, from+size-1)
			}
			i := uint64(0)
			for part(i+1, size, parts) <= seq-from {
				i++
			}
			if seen[i] {
				t.Fatalf("part %d was drawn twice", i)
			}
			seen[i] = true
		}
		if uint64(len(seen)) != parts {
			t.Fatalf("%d of %d parts", len(seen), parts)
		}
	})
}

func TestMoreValuesThanCanBeToldApartAreSaidToBe(t *testing.T) {
	t.Parallel()
	a := newTally(Range{})
	for i := range maxValues + 1 {
		a.count(a.types, strings.Repeat("x", i%7)+fmt.Sprint(i))
	}
	if !a.partial || len(a.types) != maxValues {
		t.Errorf("%d values, partial %v", len(a.types), a.partial)
	}
}
