package reader

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/pkg/natstest"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/internal/match"
)

func TestFiltersAreWorthItWhereTheySelectLittle(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name            string
		pending, behind uint64
		much            bool
	}{
		{"near to the end nothing is to be gained", 999, 1000, false},
		{"everything", 1000, 1000, true},
		{"more than the last look saw", 5000, 1000, true},
		{"a tenth", 10_000, 100_000, false},
		{"more than a tenth", 10_001, 100_000, true},
		{"little of a lot", 10_000, 10_000_000, false},
		{"nothing", 0, 10_000_000, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if much := selectMuch(tt.pending, tt.behind, 1000); much != tt.much {
				t.Errorf("%d of %d select much: %v", tt.pending, tt.behind, much)
			}
		})
	}
}

// recorder is JetStream that notes what consumers ask for.
type recorder struct {
	jetstream.JetStream
	mu    sync.Mutex
	asked []question
}

type question struct {
	filters match.Filters
	from    uint64
}

func (r *recorder) CreateConsumer(ctx context.Context, stream string, cfg jetstream.ConsumerConfig) (jetstream.Consumer, error) {
	r.mu.Lock()
	filters := cfg.FilterSubjects
	if cfg.FilterSubject != "" {
		filters = []string{cfg.FilterSubject}
	}
	r.asked = append(r.asked, question{filters, cfg.OptStartSeq})
	r.mu.Unlock()
	return r.JetStream.CreateConsumer(ctx, stream, cfg)
}

func (r *recorder) questions() []question {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.asked)
}

// many stores n events of so many subjects, in a file: only there the server
// visits all subjects.
func many(t *testing.T, n, subjects int) (*env, *recorder) {
	t.Helper()
	js := &recorder{JetStream: natstest.Start(t).JetStream()}
	cfg := jetstream.StreamConfig{Name: testStore, Subjects: []string{"e.>", "f.>"}, Storage: jetstream.FileStorage}
	if _, err := js.CreateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	e := newEnvOn(t, js, Config{JetStream: js})
	for i := range n {
		m := &nats.Msg{Subject: fmt.Sprintf("e.%d.made", i%subjects), Data: []byte("{}")}
		if _, err := js.PublishMsgAsync(m, jetstream.WithStallWait(20*time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-js.PublishAsyncComplete():
	case <-time.After(20 * time.Second):
		t.Fatal("events not stored in 20 s")
	}
	return e, js
}

// Several filters made reading slower by a factor of hundreds.
func TestTwoFiltersReadABacklogAsFastAsNone(t *testing.T) {
	t.Parallel()
	const events = 12_000
	e, js := many(t, events, 4000)
	read := func(name string, filters ...string) time.Duration {
		begun := time.Now()
		var all []*subscriber
		for i, filter := range filters {
			s := e.subscribe(fmt.Sprint(name, i), filter, 0, false, nil)
			s.attach()
			all = append(all, s)
		}
		natstest.Await(t, "the backlog of "+name, func() error { return all[0].got(0, events) })
		took := time.Since(begun)
		for _, s := range all {
			e.set.Detach(testStore, s.pool)
		}
		return took
	}
	none, two := read("none", ">"), read("two", "e.*.made", "f.1.>")
	if two > 5*none+2*time.Second {
		t.Errorf("with two filters it took %v, without any %v", two, none)
	}
	for _, q := range js.questions() {
		if len(q.filters) > 1 && strings.ContainsAny(strings.Join(q.filters, ""), "*>") {
			t.Errorf("a consumer asked for %v", q.filters)
		}
	}
}

func TestAReaderThatIsBehindAsksForEverythingWhereItsFilterSelectsMuch(t *testing.T) {
	t.Parallel()
	const events = 9_000 // so many that the reader is not half done when it is looked at
	for _, tt := range []struct {
		filter string
		wide   bool
	}{{"e.*.made", true}, {"e.1.*", false}} {
		t.Run(tt.filter, func(t *testing.T) {
			t.Parallel()
			wide := false
			for tries := 0; !wide && (tries == 0 || tt.wide && tries < 5); tries++ { // on a busy machine it may have read half before anybody looks
				e, js := many(t, events, 10)
				s := e.subscribe("s", tt.filter, 0, false, nil)
				s.attach()
				natstest.Await(t, "the backlog", func() error { return s.got(0, events) })
				natstest.Await(t, "it is live", func() error { return s.in(wire.PoolLive, "") })
				wide = slices.ContainsFunc(js.questions(), func(q question) bool { return q.filters == nil && q.from < events/2 })
			}
			if wide != tt.wide {
				t.Errorf("far from the end consumers asked for everything: %v", wide)
			}
		})
	}
}
