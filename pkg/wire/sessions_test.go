package wire_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluicehq/sluice/pkg/wire"
)

func TestSessionsAndLeasesThatCannotBeTrueAreErrors(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		what, json string
		ok         bool
	}{
		{"all of it", `{"service":"emitter","instance":"e-1","started_at":"2026-11-26T12:00:00Z","pools":7,"in_flight":90,"version":"0.1.0","draining":true}`, true},
		{"of a later version", `{"service":"emitter","instance":"e-1","more":{"a":1}}`, true},
		{"of a machine without a clock", `{"service":"emitter","instance":"e-1","started_at":"1970-01-01T00:00:09Z"}`, true},
		{"no names", `{}`, false},
		{"no instance", `{"service":"emitter","instance":""}`, false},
		{"a wildcard", `{"service":"emitter","instance":"*"}`, false},
		{"two tokens", `{"service":"emitter","instance":"a.b"}`, false},
		{"less than no pools", `{"service":"emitter","instance":"a","pools":-1}`, false},
		{"more pools than there can be", `{"service":"emitter","instance":"a","pools":1000000000}`, false},
		{"less than nothing in flight", `{"service":"emitter","instance":"a","in_flight":-1}`, false},
		{"more in flight than there can be", `{"service":"emitter","instance":"a","in_flight":4294967296}`, false},
		{"half a pool", `{"service":"emitter","instance":"a","pools":0.5}`, false},
		{"begun at the end of times", `{"service":"emitter","instance":"a","started_at":"9999-12-31T23:59:59Z"}`, false},
		{"begun in 300 years", `{"service":"emitter","instance":"a","started_at":"2326-01-01T00:00:00Z"}`, false},
		{"a long version", `{"service":"emitter","instance":"a","version":"` + strings.Repeat("1", 65) + `"}`, false},
	} {
		if err := json.Unmarshal([]byte(tt.json), &wire.Session{}); (err == nil) != tt.ok {
			t.Errorf("session, %s: err = %v", tt.what, err)
		}
	}
	for _, tt := range []struct {
		what, json string
		ok         bool
	}{
		{"all of it", `{"role":"healthmon","instance":"h-1","epoch":1795705387763728,"since":"2026-11-26T12:00:00Z"}`, true},
		{"a claim without epoch", `{"role":"healthmon","instance":"h-1","epoch":0}`, true},
		{"nobody's", `{"role":"healthmon","instance":"","epoch":4}`, false},
		{"a wildcard's", `{"role":"healthmon","instance":">","epoch":4}`, false},
		{"an epoch at the end of numbers", `{"role":"healthmon","instance":"h-1","epoch":18446744073709551615}`, false},
		{"an epoch below nothing", `{"role":"healthmon","instance":"h-1","epoch":-1}`, false},
		{"held since the end of times", `{"role":"healthmon","instance":"h-1","epoch":4,"since":"9999-12-31T23:59:59Z"}`, false},
		{"a long role", `{"role":"` + strings.Repeat("r", 65) + `","instance":"h-1","epoch":4}`, false},
	} {
		if err := json.Unmarshal([]byte(tt.json), &wire.Lease{}); (err == nil) != tt.ok {
			t.Errorf("lease, %s: err = %v", tt.what, err)
		}
	}
}

func FuzzSession(f *testing.F) {
	f.Add([]byte(`{"service":"emitter","instance":"e-1","started_at":"2026-11-26T12:00:00Z","pools":7,"in_flight":90}`))
	f.Fuzz(func(t *testing.T, value []byte) {
		var s wire.Session
		if json.Unmarshal(value, &s) != nil || string(value) == "null" {
			return
		}
		if len(s.Service) > 64 || !wire.ValidName(s.Instance) || s.Pools < 0 || s.InFlight < 0 {
			t.Fatalf("%+v", s)
		}
		again[wire.Session](t, s)
	})
}

func FuzzLease(f *testing.F) {
	f.Add([]byte(`{"role":"healthmon","instance":"h-1","epoch":1795705387763728,"since":"2026-11-26T12:00:00Z"}`))
	f.Fuzz(func(t *testing.T, value []byte) {
		var l wire.Lease
		if json.Unmarshal(value, &l) != nil || string(value) == "null" {
			return
		}
		if !wire.ValidName(l.Instance) || l.Epoch > 1<<53 {
			t.Fatalf("%+v", l)
		}
		again[wire.Lease](t, l)
	})
}

// again requires that v is read as it was written.
func again[T any](t *testing.T, v T) {
	t.Helper()
	b, err := wire.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var got T
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatalf("%s: %v", b, err)
	}
	if diff := cmp.Diff(v, got); diff != "" {
		t.Fatalf("(-want +got) %s", diff)
	}
}
