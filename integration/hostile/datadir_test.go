package hostile

import (
	"errors"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/integration/harness"
)

// standalone starts a whole Sluice as a process of its own.
func standalone(t *testing.T, natsAddr, dir string) (*harness.Process, func() error) {
	t.Helper()
	httpAddr := harness.FreeAddr(t)
	p := harness.Exec(t, "standalone", []string{
		"SLUICE_NATS_ADDR=" + natsAddr, "SLUICE_HTTP_ADDR=" + httpAddr, "SLUICE_DATA_DIR=" + dir,
	}, harness.Program(t, ".", "./services/standalone"))
	return p, func() error { return errors.Join(p.Ended(), harness.Ready(t, httpAddr)) }
}

// stream opens, or makes, the stream that the test writes to.
func stream(t *testing.T, natsAddr string) (jetstream.JetStream, jetstream.Stream) {
	t.Helper()
	nc, err := nats.Connect("nats://"+natsAddr, nats.RetryOnFailedConnect(true))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	s, err := js.CreateOrUpdateStream(t.Context(), jetstream.StreamConfig{Name: "EVENTS", Subjects: []string{"events.>"}})
	if err != nil {
		t.Fatal(err)
	}
	return js, s
}

func TestDataDirectory_OfALivingStandaloneIsRefusedAndOfAKilledOneTaken(t *testing.T) {
	t.Parallel()
	dir, addr := t.TempDir(), harness.FreeAddr(t)
	first, ready := standalone(t, addr, dir)
	harness.Await(t, "the first", ready)
	js, _ := stream(t, addr)
	for range 100 {
		if _, err := js.Publish(t.Context(), "events.a", []byte("x")); err != nil {
			t.Fatal(err)
		}
	}

	second, _ := standalone(t, harness.FreeAddr(t), dir)
	if err := second.Wait(); err == nil {
		t.Error("a second standalone on the same directory ended without an error")
	}
	for _, want := range []string{"is in use by process", dir, "SLUICE_DATA_DIR"} {
		if out := second.Output.String(); !strings.Contains(out, want) {
			t.Errorf("the second does not say %q:\n%s", want, out)
		}
	}
	if err := first.Ended(); err != nil {
		t.Fatal(err)
	}

	first.Kill() // SIGKILL: nothing is cleaned up
	addr = harness.FreeAddr(t)
	_, ready = standalone(t, addr, dir)
	harness.Await(t, "the third", ready)
	_, s := stream(t, addr)
	info, err := s.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if info.State.Msgs != 100 || info.State.NumDeleted != 0 {
		t.Errorf("the stream holds %d messages and misses %d, want 100 and 0", info.State.Msgs, info.State.NumDeleted)
	}
}
