package subscription

import "testing"

func BenchmarkDecodePool(b *testing.B) {
	e := Entry{Key: "s-1", Value: []byte(`{"schema":1,"name":"s-1","uid":"0f7d3f0a9d","owner":"emitter-b03a5c54","epoch":1795717787157482,` +
		`"observed_generation":1,"checkpoint":{"floor":15,"ranges":[[17,18],[20,20]]},"state":"live","reason":"",` +
		`"claimed_at":"2026-11-26T18:29:47.444494643Z","updated_at":"2026-11-26T18:29:47.552996441Z"}`)}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodePool(e); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeRecord(b *testing.B) {
	e := Entry{Key: "s-1", Value: []byte(`{"schema":1,"name":"s-1","uid":"0f7d3f0a9d","generation":1,"paused":false,` +
		`"created_at":"2026-11-26T18:29:47.444494643Z","updated_at":"2026-11-26T18:29:47.444494643Z","start_sequence":1,` +
		`"store_created":"2026-11-26T18:29:40.444494643Z","spec":{"store":"S","selector":{"by_stream":"a.>","by_event_type":["x","y"]},` +
		`"start":"new","deliver":{"subject":"to.x","mode":"ack","ack":"any"},"order_by":"stream","pool_size":{"min":16,"max":1024},` +
		`"ack_wait":"30s","retry":{"max_attempts":5,"min_backoff":"1s","max_backoff":"1m0s"},"on_exhausted":"park",` +
		`"breaker":{"failures":5,"open_for":"10s"},"expire_after":"0s","on_gap":"continue","labels":{"team":"a"}}}`)}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodeRecord(e, ns); err != nil {
			b.Fatal(err)
		}
	}
}
