package events_test

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluicehq/sluice/integration/events"
)

func digest(seed uint64, n int) string {
	h := sha256.New()
	for e := range events.Generate(seed, n) {
		_, _ = fmt.Fprintf(h, "%s %s %s %q %s\n", e.Subject, e.Type, e.Stream, e.Headers, e.Data)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

func TestASeedGivesTheSameEventsAgain(t *testing.T) {
	t.Parallel()
	first := digest(1, 500)
	if again := digest(1, 500); again != first {
		t.Error("the same seed gives other events")
	}
	bodies := map[string]bool{}
	for _, seed := range []uint64{1, 2} {
		for e := range events.Generate(seed, 500) {
			bodies[string(e.Data)] = true
		}
	}
	if len(bodies) != 1000 {
		t.Errorf("two seeds give %d bodies, want 1000", len(bodies))
	}
	var few, many []events.Event
	for e := range events.Generate(3, 5) {
		few = append(few, e)
	}
	for e := range events.Generate(3, 1000) {
		if many = append(many, e); len(many) == len(few) {
			break
		}
	}
	for i := range few {
		if !bytes.Equal(few[i].Data, many[i].Data) || few[i].Subject != many[i].Subject {
			t.Errorf("event %d depends on how many there are", i)
		}
	}
}

func TestTwentyThousandEventsAreWhatIsPromised(t *testing.T) {
	t.Parallel()
	types, streams, bare, seen := map[string]int{}, map[string]int{}, 0, map[string]int{}
	total, notJSON, small := 0, 0, 0
	marks := []string{
		"9007199254740993", "null", "{}", "[]", "[{", "e2", "E-2", "東京", `\ud83d`, `"schema version"`, `"zip.code"`, "-0.", `[[`,
	}
	n := 0
	headers := []string{"ce-id", "Nats-Msg-Id", "ce-source", "x-region", "X-Tenant"}
	for e := range events.Generate(42, 20_000) {
		n++
		types[e.Type]++
		streams[e.Stream]++
		total += len(e.Data)
		if size := len(e.Data); size < 1000 || size > 30<<10 {
			t.Fatalf("%s has %d bytes, want 1 to 30 KB", e.Subject, size)
		} else if size < 4<<10 {
			small++
		}
		if (n%20 == 0 || !e.JSON) && json.Valid(e.Data) != e.JSON {
			t.Fatalf("JSON = %v of %s: %.1000s", e.JSON, e.Subject, e.Data)
		}
		if !e.JSON {
			notJSON++
		}
		checkSubject(t, e)
		if e.Headers.Get("ce-type") == "" {
			bare++
		}
		for _, mark := range marks {
			if n%20 == 0 && bytes.Contains(e.Data, []byte(mark)) {
				seen[mark]++
			}
		}
		for _, header := range headers {
			if e.Headers.Get(header) != "" {
				seen[header]++
			}
		}
	}
	t.Logf("%d MB, %d small, %d without ce-type, %d no JSON; seen %v", total>>20, small, bare, notJSON, seen)
	if len(types) != 150 || len(streams) != 200 {
		t.Errorf("%d types over %d streams, want 150 over 200", len(types), len(streams))
	}
	if bare < 1000 || bare > 3000 || notJSON < 20 || notJSON > 300 || small < 10_000 {
		t.Errorf("%d without ce-type, %d no JSON, %d small", bare, notJSON, small)
	}
	for _, mark := range append(marks, headers...) {
		if seen[mark] < 10 {
			t.Errorf("%q is in %d events only", mark, seen[mark])
		}
	}
}

// checkSubject compares type and stream with what the contract says they are.
func checkSubject(t *testing.T, e events.Event) {
	t.Helper()
	wantType, wantStream := e.Headers.Get("ce-type"), e.Subject
	if wantType == "" {
		i := strings.LastIndex(e.Subject, ".")
		wantType, wantStream = e.Subject[i+1:], e.Subject[:i]
	}
	if e.Type != wantType || e.Stream != wantStream {
		t.Fatalf("%s: type %q, stream %q, want %q, %q", e.Subject, e.Type, e.Stream, wantType, wantStream)
	}
	if strings.ContainsAny(e.Subject, " \t*>") || strings.Contains(e.Subject, "..") {
		t.Fatalf("subject %q", e.Subject)
	}
	for _, s := range events.Subjects() {
		if strings.HasPrefix(e.Subject, strings.TrimSuffix(s, ">")) {
			return
		}
	}
	t.Fatalf("subject %q is not under %v", e.Subject, events.Subjects())
}

func TestMsgHasHeadersOfItsOwn(t *testing.T) {
	t.Parallel()
	for e := range events.Generate(1, 1) {
		msg := e.Msg()
		msg.Header.Set("x-region", "changed")
		if e.Headers.Get("x-region") == "changed" || msg.Subject != e.Subject || !bytes.Equal(msg.Data, e.Data) {
			t.Errorf("message %v of %v", msg, e)
		}
	}
}

func TestWebhooksAreReadAsTheyAre(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if all, ok, err := events.Webhooks(dir); all != nil || ok || err != nil {
		t.Errorf("nothing there: %v, %v, %v", all, ok, err)
	}
	path := filepath.Join(dir, "github-webhooks.ndjson.gz")
	write := func(lines string) {
		var packed bytes.Buffer
		w := gzip.NewWriter(&packed)
		if _, err := w.Write([]byte(lines)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, packed.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(`{"event":"e","type":"e.a","stream":"o.r","data":{"b": 1.0,"a":2}}` + "\n" + `{"type":"p","stream":"o","data":{}}` + "\n")
	all, ok, err := events.Webhooks(dir)
	if err != nil || !ok || len(all) != 2 {
		t.Fatalf("%d events, %v, %v", len(all), ok, err)
	}
	e := all[0]
	if e.Subject != "github.o.r" || e.Type != "e.a" || string(e.Data) != `{"b": 1.0,"a":2}` || all[1].Headers.Get("ce-id") != "2" {
		t.Errorf("events %+v", all)
	}
	checkSubject(t, e)
	write(`{"type":"p"}`)
	if _, _, err := events.Webhooks(dir); err == nil || !strings.Contains(err.Error(), "line 1") {
		t.Errorf("error = %v, want the line", err)
	}
	if err := os.WriteFile(path, []byte("no gzip"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := events.Webhooks(dir); err == nil || ok {
		t.Error("a broken file is no error")
	}
}

func TestTheRealWebhooksAreCompleteWhereTheyAre(t *testing.T) {
	t.Parallel()
	dir, err := events.DataDir()
	if err != nil {
		t.Fatal(err)
	}
	all, ok, err := events.Webhooks(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !ok {
		t.Logf("no webhooks in %s", dir)
		return
	}
	types, streams := map[string]bool{}, map[string]bool{}
	for _, e := range all {
		checkSubject(t, e)
		types[e.Type], streams[e.Stream] = true, true
	}
	if len(all) != 255 || len(types) != 159 || len(streams) != 14 {
		t.Errorf("%d events of %d types over %d streams, want 255, 159 and 14", len(all), len(types), len(streams))
	}
}

func BenchmarkGenerate(b *testing.B) {
	for b.Loop() {
		n := 0
		for e := range events.Generate(1, 20_000) {
			n += len(e.Data)
		}
		b.SetBytes(int64(n))
	}
}
