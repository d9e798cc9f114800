package presence

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/sluicehq/sluice/pkg/natstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func nothingOurs(string) bool { return false }

// listen subscribes and fails the test if anything is ever delivered.
func listen(t *testing.T, nc *nats.Conn, subject, queue string) *nats.Subscription {
	t.Helper()
	s, err := nc.QueueSubscribe(subject, queue, func(m *nats.Msg) {
		t.Errorf("a probe was delivered on %q", m.Subject)
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	return s
}

func probe(t *testing.T, p *Prober, subject string) Listeners {
	t.Helper()
	got, err := p.Probe(t.Context(), []string{subject})
	if err != nil {
		t.Fatalf("Probe(%q): %v", subject, err)
	}
	return got[subject]
}

func TestProbeCountsListenersAndDeliversNothing(t *testing.T) {
	t.Parallel()
	srv := natstest.Start(t)
	user := srv.Conn()
	js := srv.JetStream()
	for _, cfg := range []jetstream.StreamConfig{
		{Name: "AUDIT", Subjects: []string{"audit.>"}},
		{Name: "OURS", Subjects: []string{"ours.>"}},
		{Name: "WANTED", Subjects: []string{"wanted.>"}, Retention: jetstream.InterestPolicy},
	} {
		if _, err := js.CreateStream(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
	}
	listen(t, user, "one", "")
	listen(t, user, "two.x", "")
	listen(t, user, "two.*", "")
	for range 3 {
		listen(t, user, "queued", "workers")
	}
	listen(t, user, "queues", "a")
	listen(t, user, "queues", "b")
	listen(t, user, "audit.both", "")
	gone := listen(t, user, "gone", "")
	if err := gone.Unsubscribe(); err != nil {
		t.Fatal(err)
	}
	if err := user.Flush(); err != nil {
		t.Fatal(err)
	}

	p := New(srv.Conn(), func(stream string) bool { return stream == "OURS" }, 2*time.Second)
	for _, tt := range []struct {
		subject string
		want    int
		streams string
	}{
		{"nobody", 0, ""},
		{"one", 1, ""},
		{"two.x", 2, ""},
		{"queued", 1, ""},
		{"queues", 2, ""},
		{"gone", 0, ""},
		{"audit.only", 1, "AUDIT"},
		{"audit.both", 2, "AUDIT"},
		{"ours.only", 0, ""},
		{"wanted.nobody", 0, ""},
	} {
		got := probe(t, p, tt.subject)
		if !got.Known || got.Subscriptions+len(got.Streams) != tt.want || strings.Join(got.Streams, ",") != tt.streams {
			t.Errorf("Probe(%q) = %+v, want %d listeners, streams %q", tt.subject, got, tt.want, tt.streams)
		}
	}
	if err := user.Flush(); err != nil {
		t.Fatal(err) // whatever was delivered has been handled by now
	}
	s, err := js.Stream(t.Context(), "AUDIT")
	if err != nil {
		t.Fatal(err)
	}
	if n := s.CachedInfo().State.Msgs; n != 0 {
		t.Errorf("probes left %d messages in a stream, want 0", n)
	}
}

func TestProbeOfMoreThanAWindowAnswersForEverySubject(t *testing.T) {
	t.Parallel()
	srv := natstest.Start(t)
	user := srv.Conn()
	var subjects []string
	for i := range 3*window + 7 {
		subjects = append(subjects, fmt.Sprintf("s.%d", i))
		if i%2 == 0 {
			listen(t, user, subjects[i], "")
		}
	}
	got, err := New(srv.Conn(), nothingOurs, 5*time.Second).Probe(t.Context(), subjects)
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range subjects {
		if l := got[s]; !l.Known || l.Subscriptions+len(l.Streams) != (i+1)%2 {
			t.Errorf("Probe(%q) = %+v, want %d listeners", s, l, (i+1)%2)
		}
	}
}

func TestAroundTellsWhoListenedWhenAMessageWasSent(t *testing.T) {
	t.Parallel()
	srv := natstest.Start(t)
	user, nc := srv.Conn(), srv.Conn()
	if _, err := srv.JetStream().CreateStream(t.Context(), jetstream.StreamConfig{Name: "AUDIT", Subjects: []string{"audit.>"}}); err != nil {
		t.Fatal(err)
	}
	here, err := user.SubscribeSync("here.*")
	if err == nil {
		err = user.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	var sendings []Sending
	for i := range window { // more than one round
		subject := []string{"here.", "nobody.", "audit."}[i%3] + fmt.Sprint(i)
		sendings = append(sendings, Sending{subject, func() {
			if err := nc.Publish(subject, nil); err != nil {
				t.Error(err)
			}
		}})
	}
	found, err := New(nc, nothingOurs, 5*time.Second).Around(t.Context(), sendings)
	if err != nil || len(found) != len(sendings) {
		t.Fatalf("%d of %d, %v", len(found), len(sendings), err)
	}
	for i, f := range found {
		subscriptions, streams := []int{1, 0, 0}[i%3], []int{0, 0, 1}[i%3]
		for _, l := range f {
			if !l.Known || l.Subscriptions != subscriptions || len(l.Streams) != streams {
				t.Fatalf("%s: %+v, want %d subscriptions, %d streams", sendings[i].Subject, l, subscriptions, streams)
			}
		}
	}
	if err := errors.Join(nc.Flush(), user.Flush()); err != nil {
		t.Fatal(err) // whatever was delivered has arrived by now
	}
	if n, _, err := here.Pending(); err != nil || n != (window+2)/3 {
		t.Errorf("%d messages were delivered (%v), want %d", n, err, (window+2)/3)
	}
}

// cluster runs two servers that know each other.
func cluster(t *testing.T) [2]*server.Server {
	t.Helper()
	var out [2]*server.Server
	var routes []*url.URL
	for i := range out {
		s, err := server.NewServer(&server.Options{
			ServerName: fmt.Sprintf("n%d", i), Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true,
			Cluster: server.ClusterOpts{Name: "c", Host: "127.0.0.1", Port: server.RANDOM_PORT}, Routes: routes,
		})
		if err != nil {
			t.Fatal(err)
		}
		s.Start()
		t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
		if !s.ReadyForConnections(10 * time.Second) {
			t.Fatal("nats-server not ready")
		}
		routes = []*url.URL{{Scheme: "nats", Host: s.ClusterAddr().String()}}
		out[i] = s
	}
	natstest.Await(t, "the cluster to form", func() error {
		if out[0].NumRoutes() == 0 || out[1].NumRoutes() == 0 {
			return errors.New("no routes")
		}
		return nil
	})
	return out
}

func TestProbeSeesListenersOnAnotherServer(t *testing.T) {
	t.Parallel()
	servers := cluster(t)
	connect := func(s *server.Server) *nats.Conn {
		nc, err := nats.Connect(s.ClientURL())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		return nc
	}
	here, there := connect(servers[0]), connect(servers[1])
	listen(t, there, "far", "")
	listen(t, there, "group", "q")
	listen(t, there, "both", "")
	listen(t, here, "both", "")
	p := New(here, nothingOurs, 2*time.Second)
	natstest.Await(t, "the probe to see across", func() error {
		for subject, want := range map[string]int{"far": 1, "group": 1, "both": 2, "none": 0} {
			if l := probe(t, p, subject); !l.Known || l.Subscriptions+len(l.Streams) != want {
				return fmt.Errorf("Probe(%q) = %+v, want %d", subject, l, want)
			}
		}
		return nil
	})
}

func TestAbsenceIsNotKnownWhileAServerOnThePathIsSilent(t *testing.T) {
	t.Parallel()
	const first = `{"request":{"header":{}},"events":[{"type":"in","kind":0},{"type":"eg","kind":1,"hop":"1"}]}`
	const second = `{"request":{"header":{"Nats-Trace-Hop":["1"]}},"events":[{"type":"in","kind":1}%s]}`
	for _, tt := range []struct {
		name   string
		traces []string
		known  bool
		count  int
	}{
		{"no answer at all", nil, false, 0},
		{"the second server is silent", []string{first}, false, 0},
		{"both answered, nobody listens", []string{first, fmt.Sprintf(second, "")}, true, 0},
		{"in the other order", []string{fmt.Sprintf(second, ""), first}, true, 0},
		{"a stream here, and the second server is silent", []string{`{"events":[{"type":"in"},{"type":"js","stream":"A"},{"type":"eg","kind":1,"hop":"1"}]}`}, false, 1},
		{"somebody listens there", []string{first, fmt.Sprintf(second, `,{"type":"eg","kind":0}`)}, true, 1},
		{"a stream here, and the second server is silent", []string{
			`{"events":[{"type":"in"},{"type":"js","stream":"AUDIT"},{"type":"eg","kind":1,"hop":"1"}]}`,
		}, false, 1},
		{"a closed connection is nobody", []string{first, fmt.Sprintf(second, `,{"type":"eg","kind":0,"error":"closed"}`)}, true, 0},
		{"the second server is too old", []string{`{"events":[{"type":"in"},{"type":"eg","kind":1,"hop":"1","error":"no support"}]}`}, false, 0},
		{"the publish was refused", []string{`{"events":[{"type":"in","error":"permission"}]}`}, false, 0},
		{"a repeated trace counts once", []string{
			`{"events":[{"type":"in"},{"type":"eg","kind":0}]}`, `{"events":[{"type":"in"},{"type":"eg","kind":0}]}`,
		}, true, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := new(path)
			for _, body := range tt.traces {
				if err := p.add([]byte(body), nothingOurs); err != nil {
					t.Fatal(err)
				}
			}
			if got := p.result(); got.Known != tt.known || got.Subscriptions+len(got.Streams) != tt.count {
				t.Errorf("result = %+v, want known %v, count %d", got, tt.known, tt.count)
			}
		})
	}
}

func TestServersThatWouldDeliverAProbeGetNone(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]bool{
		"2.10.22": false, "2.9.0": false, "1.4.1": false, "": false, "dev": false,
		"2.11.0": true, "2.15.2": true, "2.15.0-RC.1": true, "3.0.0": true,
	} {
		if got := traces(version); got != want {
			t.Errorf("traces(%q) = %v, want %v", version, got, want)
		}
	}
}

func TestProbeEndsWithItsContext(t *testing.T) {
	t.Parallel()
	srv := natstest.Start(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := New(srv.Conn(), nothingOurs, time.Minute).Probe(ctx, []string{"x"}); !errors.Is(err, context.Canceled) {
		t.Errorf("Probe with an ended context = %v, want %v", err, context.Canceled)
	}
}
