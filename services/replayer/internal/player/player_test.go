package player

import (
	"testing"
	"time"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/sluicehq/sluice/pkg/wire"
)

func TestWhatIsReplayedIsCountedByOutcome(t *testing.T) {
	t.Parallel()
	reader := sdkmetric.NewManualReader()
	m, err := NewMetrics(sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)).Meter(""))
	if err != nil {
		t.Fatal(err)
	}
	m.moved(wire.ReplayCounts{Sent: 5, Finished: 3}, wire.ReplayCounts{Sent: 9, Finished: 4, Parked: 1})
	m.moved(wire.ReplayCounts{Sent: 9}, wire.ReplayCounts{Sent: 8}) // taken back
	m.ends(wire.ReplayFinished)
	m.runs(2)
	var all metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	got := map[string]int64{}
	for _, metric := range all.ScopeMetrics[0].Metrics {
		switch data := metric.Data.(type) {
		case metricdata.Sum[int64]:
			for _, p := range data.DataPoints {
				for _, a := range p.Attributes.ToSlice() {
					got[metric.Name+" "+a.Value.AsString()] += p.Value
				}
			}
		case metricdata.Gauge[int64]:
			got[metric.Name] = data.DataPoints[0].Value
		}
	}
	want := map[string]int64{
		"replayer.replayed sent": 4, "replayer.replayed finished": 1, "replayer.replayed parked": 1,
		"replayer.replays.ended finished": 1, "replayer.replays": 2,
	}
	for name, n := range want {
		if got[name] != n || len(got) != len(want) {
			t.Errorf("%s: %d, want %d; of %v", name, got[name], n, got)
		}
	}
}

func TestARateIsMeasuredAndTellsWhenAReplayIsFinished(t *testing.T) {
	t.Parallel()
	var m meter
	now := time.Unix(1000, 0)
	r := wire.Replay{ReplayCounts: wire.ReplayCounts{Total: 1000}}
	m.measure(r, now)
	if m.rate() != 0 || m.eta(&r, now) != nil {
		t.Errorf("before there is anything to measure: %d, %v", m.rate(), m.eta(&r, now))
	}
	for range 4 {
		now = now.Add(time.Second)
		r.Finished += 90
		r.Parked += 10
		m.measure(r, now)
	}
	if eta := m.eta(&r, now); m.rate() != 100 || eta == nil || !eta.Equal(now.Add(6*time.Second)) {
		t.Errorf("%d a second, finished at %v, want 100 and %v", m.rate(), eta, now.Add(6*time.Second))
	}
	for range 30 {
		now = now.Add(time.Second)
		m.measure(r, now)
	}
	if m.rate() != 0 || m.eta(&r, now) != nil {
		t.Errorf("at rest: %d, %v", m.rate(), m.eta(&r, now))
	}
	r.Finished, r.Parked = 1500, 0 // an estimate was too low
	m.measure(r, now.Add(time.Second))
	if m.eta(&r, now) != nil {
		t.Error("it says when it will have been finished")
	}
}
