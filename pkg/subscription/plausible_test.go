package subscription

import (
	"encoding/json"
	"errors"
	"math"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/sluicehq/sluice/pkg/wire"
)

// stored is when the entries of these tests were stored, in a bucket that began a
// month before.
func storedAt() time.Time { return time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC) }

func entryOf(tb testing.TB, v any) Entry {
	tb.Helper()
	at := storedAt()
	return Entry{
		Key: "n", Value: encode(tb, v), Created: at,
		Revision: uint64(at.AddDate(0, -1, 0).UnixMicro()) + 5000,
	}
}

// members is v as JSON has it.
func members(tb testing.TB, v any) map[string]any {
	tb.Helper()
	var m map[string]any
	dec := json.NewDecoder(strings.NewReader(string(encode(tb, v))))
	dec.UseNumber()
	if err := dec.Decode(&m); err != nil {
		tb.Fatal(err)
	}
	return m
}

// aPool is what an owner may have written at storedAt.
func aPool() *wire.Pool {
	at := storedAt()
	rev := uint64(at.AddDate(0, -1, 0).UnixMicro())
	return &wire.Pool{
		Schema: 1, Name: "n", UID: "u", Owner: "emitter-1", Epoch: rev + 4000, ObservedGeneration: 2, ObservedRevision: rev + 40,
		Checkpoint: wire.Checkpoint{Floor: 10, Ranges: [][2]uint64{{12, 12}, {14, 20}}}, State: wire.PoolLive,
		Gap:       &wire.Gap{From: 1, To: 9, Count: 3, Kind: wire.GapMiddle, At: at, Generation: 1},
		Holes:     &wire.Holes{To: 30, Ranges: [][2]uint64{{21, 22}, {29, 30}}},
		ClaimedAt: at.Add(-time.Hour), UpdatedAt: at,
	}
}

func aStoredRecord(tb testing.TB) *wire.Record {
	tb.Helper()
	r, _ := aRecord(tb)
	r.CreatedAt, r.UpdatedAt, r.StoreCreated = storedAt().AddDate(-1, 0, 0), storedAt(), storedAt().AddDate(-2, 0, 0)
	return r
}

// sometimes are times that a writer cannot have meant.
func absurdTimes() []string {
	return []string{"0001-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "1971-01-01T00:00:00Z", "2019-12-31T23:59:59Z", "2027-06-01T00:00:00Z", "2326-11-26T00:00:00Z", "9999-12-31T23:59:59Z"}
}

func TestPoolsThatCanBeReadAndCannotBeTrueAreErrors(t *testing.T) {
	t.Parallel()
	if _, err := DecodePool(entryOf(t, aPool())); err != nil {
		t.Fatalf("the good one: %v", err)
	}
	rev := entryOf(t, nil).Revision
	type row struct {
		field string
		value any
	}
	rows := []row{
		{"schema", -1},
		{"owner", "*"},
		{"owner", "a.b"},
		{"owner", ">"},
		{"owner", strings.Repeat("o", 65)},
		{"epoch", rev + uint64(maxAhead.Microseconds()) + 1},
		{"epoch", uint64(wire.MaxRevision + 1)},
		{"epoch", uint64(math.MaxUint64)},
		{"observed_generation", uint64(maxGeneration + 1)},
		{"observed_revision", uint64(storedAt().Add(maxAhead).UnixMicro()) + 1},
		{"observed_revision", uint64(math.MaxUint64)},
		{"checkpoint", wire.Checkpoint{Floor: math.MaxUint64}},
		{"checkpoint", wire.Checkpoint{Floor: maxSequence + 1}},
		{"checkpoint", wire.Checkpoint{Floor: 10, Ranges: [][2]uint64{{12, math.MaxUint64}}}},
		{"begin", 12},
		{"begin", uint64(math.MaxUint64)},
		{"lost_from", uint64(math.MaxUint64)},
		{"state", ""},
		{"state", "LIVE"},
		{"state", "<b>"},
		{"state", strings.Repeat("s", 33)},
		{"reason", strings.Repeat("r", maxReason+1)},
		{"gap", wire.Gap{To: 5}},
		{"gap", wire.Gap{From: 7, To: 5}},
		{"gap", wire.Gap{From: 1, To: math.MaxUint64}},
		{"gap", wire.Gap{From: 1, To: 5, Count: 6}},
		{"gap", wire.Gap{From: 1, To: 5, Kind: "a b"}},
		{"gap", wire.Gap{From: 1, To: 5, Generation: math.MaxUint64}},
		{"gap", map[string]any{"from": -1, "to": 5}},
		{"holes", wire.Holes{To: math.MaxUint64}},
		{"holes", wire.Holes{To: 9, Ranges: [][2]uint64{{8, 10}}}},
		{"holes", wire.Holes{To: 9, Ranges: [][2]uint64{{7, 8}, {2, 3}}}},
		{"holes", wire.Holes{To: 9, Ranges: [][2]uint64{{5, 8}, {7, 9}}}},
		{"holes", wire.Holes{To: 1 << 20, Ranges: manyRanges(maxHoles + 1)}},
	}
	for _, at := range absurdTimes() {
		rows = append(rows, row{"claimed_at", at}, row{"updated_at", at})
		if !strings.HasPrefix(at, "0001") { // which says that it is not known
			rows = append(rows, row{"gap", map[string]any{"from": 1, "to": 5, "at": at}})
		}
	}
	for _, tt := range rows {
		m := members(t, aPool())
		m[tt.field] = tt.value
		_, err := DecodePool(entryOf(t, m))
		requireFault(t, err, tt.field, tt.value)
	}
}

func manyRanges(n int) (rs [][2]uint64) {
	for i := range n {
		rs = append(rs, [2]uint64{uint64(3*i + 1), uint64(3*i + 2)})
	}
	return rs
}

// requireFault fails unless err is about the field alone.
func requireFault(tb testing.TB, err error, field string, value any) {
	tb.Helper()
	var faults *FaultsError
	if !errors.As(err, &faults) || len(faults.Faults) != 1 || !regexp.MustCompile(`^`+field+`($|[.[])`).MatchString(faults.Faults[0].Field) {
		tb.Errorf("%s %.60v: err = %v", field, value, err)
	}
}

func TestPoolsThatCanBeTrueAreNoErrors(t *testing.T) {
	t.Parallel()
	at := storedAt()
	low := func(e *Entry) { e.Revision = 9 } // in a bucket that somebody made by hand
	for name, change := range map[string]func(p *wire.Pool, e *Entry){
		"nobody's, never claimed": func(p *wire.Pool, _ *Entry) { p.Owner, p.ClaimedAt = "", time.Time{} },
		"of a bucket by hand":     func(_ *wire.Pool, e *Entry) { low(e) },
		"of one before the present, made by a clock that was ahead": func(p *wire.Pool, e *Entry) {
			p.Epoch = e.Revision + uint64((72 * time.Hour).Microseconds())
		},
		"of an early version's bucket":    func(p *wire.Pool, e *Entry) { p.Epoch, p.ObservedRevision = 4, 3; low(e) },
		"by a clock that is two days off": func(p *wire.Pool, _ *Entry) { p.UpdatedAt, p.ClaimedAt = at.Add(48*time.Hour), at.Add(-48*time.Hour) },
		"by a clock that was never set": func(p *wire.Pool, _ *Entry) {
			p.ClaimedAt, p.UpdatedAt = time.Unix(30, 0), time.Unix(90, 0)
			p.Gap.At = time.Unix(60, 0)
		},
		"by a server without a clock":   func(_ *wire.Pool, e *Entry) { e.Created = time.Unix(1000, 0) },
		"not known where":               func(_ *wire.Pool, e *Entry) { e.Created, e.Revision = time.Time{}, 0 },
		"in a state of a later version": func(p *wire.Pool, _ *Entry) { p.State = "parked_stream_full" },
		"sought ahead":                  func(p *wire.Pool, _ *Entry) { p.Checkpoint, p.Begin = wire.Checkpoint{Floor: 1 << 60}, 1<<60+1 },
		"in a store whose sequences are nanoseconds": func(p *wire.Pool, _ *Entry) {
			p.Checkpoint = wire.Checkpoint{Floor: uint64(at.UnixNano())}
		},
		"whose store lost its end":  func(p *wire.Pool, _ *Entry) { p.LostFrom = 5 },
		"with more holes than told": func(p *wire.Pool, _ *Entry) { p.Holes = &wire.Holes{To: 30, Many: true} },
		"with a gap of all events":  func(p *wire.Pool, _ *Entry) { p.Gap = &wire.Gap{From: 5, To: 5} },
	} {
		p := aPool()
		e := entryOf(t, nil)
		change(p, &e)
		e.Value = encode(t, p)
		if _, err := DecodePool(e); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := DecodePool(entryOf(t, map[string]any{"name": "n", "uid": "u", "epoch": 1})); err != nil {
		t.Errorf("members that are absent: %v", err)
	}
}

func TestRecordsThatCanBeReadAndCannotBeTrueAreErrors(t *testing.T) {
	t.Parallel()
	good := aStoredRecord(t)
	if _, err := DecodeRecord(entryOf(t, good), ns); err != nil {
		t.Fatalf("the good one: %v", err)
	}
	type row struct {
		field string
		value any
	}
	rows := []row{
		{"schema", -1},
		{"generation", uint64(maxGeneration + 1)},
		{"generation", uint64(math.MaxUint64)},
		{"start_sequence", uint64(math.MaxUint64)},
		{"start_sequence", 6}, // the spec says 7
		{"store_created", "2027-06-01T00:00:00Z"},
		{"store_created", "9999-12-31T23:59:59Z"},
	}
	for _, at := range absurdTimes() {
		rows = append(rows, row{"created_at", at}, row{"updated_at", at})
	}
	for _, tt := range rows {
		m := members(t, good)
		m[tt.field] = tt.value
		_, err := DecodeRecord(entryOf(t, m), ns)
		requireFault(t, err, tt.field, tt.value)
	}
	for _, tt := range []row{
		{"store", ""},
		{"store", "a.b"},
		{"selector", map[string]any{}},
		{"selector", map[string]any{"by_stream": "a..b"}},
		{"deliver", map[string]any{"subject": "*"}},
		{"deliver", map[string]any{"subject": "$JS.API.STREAM.DELETE.X"}},
		{"start", map[string]any{"sequence": uint64(math.MaxUint64)}},
		{"ack_wait", "300000h"},
		{"expire_after", "-1s"},
		{"pool_size", map[string]any{"min": -1}},
		{"on_gap", "explode"},
	} {
		m := members(t, good)
		m["spec"].(map[string]any)[tt.field] = tt.value
		if _, err := DecodeRecord(entryOf(t, m), ns); err == nil {
			t.Errorf("spec.%s %v: no error", tt.field, tt.value)
		}
	}
}

func TestRecordsThatCanBeTrueAreNoErrors(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(r *wire.Record, e *Entry){
		"of a store that a server without a clock made": func(r *wire.Record, _ *Entry) { r.StoreCreated = time.Unix(0, 0) },
		"of a store that is not known":                  func(r *wire.Record, _ *Entry) { r.StoreCreated = time.Time{} },
		"that begins later than asked for":              func(r *wire.Record, _ *Entry) { r.StartSequence = 90 },
		"by a clock that is two days off":               func(r *wire.Record, _ *Entry) { r.UpdatedAt = storedAt().Add(48 * time.Hour) },
		"by a clock that was never set": func(r *wire.Record, _ *Entry) {
			r.CreatedAt, r.UpdatedAt = time.Unix(30, 0), time.Unix(90, 0)
		},
		"in a bucket by hand": func(_ *wire.Record, e *Entry) { e.Revision = 1 },
	} {
		r := aStoredRecord(t)
		e := entryOf(t, nil)
		change(r, &e)
		e.Value = encode(t, r)
		if _, err := DecodeRecord(e, ns); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzDecodeRecord(f *testing.F) {
	_, m := aRecord(f)
	f.Add("n", encode(f, m), uint64(7), int64(1_764_000_000))
	f.Add("n", []byte(`{"schema":1e400,"spec":{"selector":{"by_stream":[]}}}`), uint64(0), int64(0))
	f.Fuzz(func(t *testing.T, key string, value []byte, rev uint64, created int64) {
		e := Entry{Key: key, Value: value, Revision: rev, Created: time.Unix(created, 0)}
		r, err := DecodeRecord(e, ns)
		if err != nil {
			return
		}
		if r.Name != key || r.Generation == 0 || r.Generation > maxGeneration || r.StartSequence > maxSequence {
			t.Fatalf("%+v", r)
		}
		e.Value = encode(t, r)
		again, err := DecodeRecord(e, ns)
		if err == nil && !Equal(&r.Spec, &again.Spec) || err != nil && !absent(err) {
			t.Fatalf("%s\nread again: %v", e.Value, err)
		}
	})
}

func FuzzDecodePool(f *testing.F) {
	f.Add("n", encode(f, aPool()), uint64(7), int64(1_764_000_000))
	f.Add("n", []byte(`{"name":"n","uid":"u","epoch":1,"checkpoint":{"floor":5,"ranges":[[7,9]]},"gap":{"from":1,"to":1}}`), uint64(1), int64(0))
	f.Fuzz(func(t *testing.T, key string, value []byte, rev uint64, created int64) {
		e := Entry{Key: key, Value: value, Revision: rev, Created: time.Unix(created, 0)}
		p, err := DecodePool(e)
		if err != nil {
			return
		}
		last := p.Checkpoint.Floor
		for _, r := range p.Checkpoint.Ranges {
			if r[0] <= last || r[1] < r[0] {
				t.Fatalf("%+v", p.Checkpoint)
			}
			last = r[1]
		}
		if p.Name != key || p.Owner != "" && !wire.ValidName(p.Owner) || p.Epoch == 0 || p.Epoch > wire.MaxRevision || last > maxSequence {
			t.Fatalf("%+v", p)
		}
		e.Value = encode(t, p)
		if _, err := DecodePool(e); err != nil && !absent(err) {
			t.Fatalf("%s\nread again: %v", e.Value, err)
		}
	})
}

// absent reports whether err finds fault only with what a version that wrote no
// such member leaves out, and this one writes as nothing.
func absent(err error) bool {
	var faults *FaultsError
	if !errors.As(err, &faults) {
		return false
	}
	for _, x := range faults.Faults {
		switch x.Field {
		case "state", "claimed_at", "updated_at", "created_at", "start_sequence":
		default:
			return false
		}
	}
	return true
}
