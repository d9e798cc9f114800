package parked

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"pgregory.net/rapid"

	"github.com/sluicehq/sluice/pkg/wire"
)

// meant is a choice, in words of the interface and as a function.
type meant struct {
	body string // without its braces
	says func(parkedEvent) bool
}

func either[T any](draw *rapid.T, label string, of ...T) T {
	return rapid.SampledFrom(of).Draw(draw, label)
}

// someOf draws which events are meant by what they say.
func someOf(draw *rapid.T) meant {
	n := rapid.IntRange(0, 9).Draw(draw, "n")
	return either(draw, "of", []meant{
		{`"reason":"r1"`, func(e parkedEvent) bool { return e.reason == "r1" }},
		{`"reason":["r1",{"suffix":"2"}]`, func(e parkedEvent) bool { return e.reason == "r1" || strings.HasSuffix(e.reason, "2") }},
		{`"match":{"type":"a"}`, func(e parkedEvent) bool { return typeOf(e) == "a" }},
		{`"match":{"headers":{"x":[{"exists":true}]}}`, func(e parkedEvent) bool { return e.header["x"] != nil }},
		{fmt.Sprintf(`"match":{"sequence":%d}`, n), func(e parkedEvent) bool { return e.seq == uint64(n) }},
		{fmt.Sprintf(`"match":{"data":{"n":[{"numeric":["<",%d]}]}}`, n), func(e parkedEvent) bool { return e.data != "" && e.seq < uint64(n) }},
		{`"match":{"type":"b"},"reason":"r0"`, func(e parkedEvent) bool { return typeOf(e) == "b" && e.reason == "r0" }},
	}...)
}

func typeOf(e parkedEvent) string {
	if t := e.header["ce-type"]; t != nil {
		return t[0]
	}
	return e.subject[strings.LastIndexByte(e.subject, '.')+1:]
}

func someEvent(draw *rapid.T) parkedEvent {
	e := parkedEvent{
		name: either(draw, "name", "triage", "other"), store: "ORDERS", seq: rapid.Uint64Range(1, 9).Draw(draw, "seq"),
		reason: either(draw, "reason", "r0", "r1", "r2"), subject: "orders." + either(draw, "last", "a", "b"), header: nats.Header{},
	}
	if rapid.Bool().Draw(draw, "typed") {
		e.header["ce-type"] = []string{either(draw, "type", "a", "c")}
	}
	if rapid.Bool().Draw(draw, "headed") {
		e.header["x"] = []string{"1"}
	}
	if rapid.Bool().Draw(draw, "payload") {
		e.data = fmt.Sprintf(`{"n":%d}`, e.seq)
	}
	return e
}

// TestListsAndDiscardsDoAsAModelDoes: events are parked, listed and discarded in
// any order, and what is left is always what a list in memory has.
func TestListsAndDiscardsDoAsAModelDoes(t *testing.T) {
	t.Parallel()
	b := newServed(t)
	b.records["other"] = true
	rapid.Check(t, func(draw *rapid.T) {
		b.tb = draw
		for _, name := range []string{"triage", "other"} {
			b.discard(name, `{"all":true}`)
		}
		var model []parkedEvent
		of := func(name string, says func(parkedEvent) bool) (out []parkedEvent) {
			for _, e := range model {
				if e.name == name && says(e) {
					out = append(out, e)
				}
			}
			return out
		}
		draw.Repeat(map[string]func(*rapid.T){
			"park": func(draw *rapid.T) {
				events := rapid.SliceOfN(rapid.Custom(someEvent), 1, 8).Draw(draw, "events")
				b.park(events...)
				model = append(model, events...)
			},
			"list": func(draw *rapid.T) {
				name, m := either(draw, "whose", "triage", "other"), someOf(draw)
				wantList(draw, b, name, m, of(name, m.says))
			},
			"discard": func(draw *rapid.T) {
				name, m := either(draw, "whose", "triage", "other"), someOf(draw)
				switch rapid.IntRange(0, 3).Draw(draw, "way") {
				case 0:
					m = meant{`"all":true`, func(parkedEvent) bool { return true }}
				case 1:
					seq := rapid.Uint64Range(1, 9).Draw(draw, "sequence")
					m = meant{fmt.Sprintf(`"sequences":[%d]`, seq), func(e parkedEvent) bool { return e.seq == seq }}
				}
				gone := of(name, m.says)
				if got := b.discard(name, "{"+m.body+"}"); got.Counts.Events != uint64(len(gone)) || !got.Complete {
					draw.Fatalf("discard %s: %+v, want %d", m.body, got, len(gone))
				}
				model = slices.DeleteFunc(model, func(e parkedEvent) bool { return e.name == name && m.says(e) })
			},
			"": func(draw *rapid.T) {
				if n := b.state(ns.StreamParked()).Msgs; n != uint64(len(model)) {
					draw.Fatalf("%d are parked, want %d", n, len(model))
				}
			},
		})
	})
}

// wantList requires a page of what is meant, which is want, the oldest first.
func wantList(draw *rapid.T, b *bed, name string, m meant, want []parkedEvent) {
	order := either(draw, "order", wire.ParkedNewest, wire.ParkedOldest)
	offset, limit := rapid.IntRange(0, 6).Draw(draw, "offset"), rapid.IntRange(1, 6).Draw(draw, "limit")
	got := b.list(name, fmt.Sprintf(`{%s,"order":%q,"offset":%d,"limit":%d}`, m.body, order, offset, limit))
	want = slices.Clone(want)
	total, bytes := len(want), 0
	for _, e := range want {
		bytes += len(e.data)
	}
	if order == wire.ParkedNewest {
		slices.Reverse(want)
	}
	want = want[min(offset, total):min(offset+limit, total)]
	type shown struct{ Subject, Reason, Type, Data string }
	show := func(subject, reason, typ, data string) shown { return shown{subject, reason, typ, data} }
	var rows, wanted []shown
	for _, r := range got.Parked {
		rows = append(rows, show(r.Subject, r.Reason, r.Type, string(r.Data)))
	}
	for _, e := range want {
		wanted = append(wanted, show(e.subject, e.reason, typeOf(e), e.data))
	}
	if diff := cmp.Diff(wanted, rows); diff != "" {
		draw.Fatalf("%s of %s, %s from %d (-want +got)\n%s", m.body, name, order, offset, diff)
	}
	if got.Total != total || got.Counts.Bytes != uint64(bytes) {
		draw.Fatalf("%s: total %d and %d bytes, want %d and %d", m.body, got.Total, got.Counts.Bytes, total, bytes)
	}
}
