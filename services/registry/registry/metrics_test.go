package registry

import (
	"testing"
	"time"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/sluicehq/sluice/pkg/wire"
)

func TestRequestsAreCountedByVerbAndError(t *testing.T) {
	t.Parallel()
	reader := sdkmetric.NewManualReader()
	m, err := newMetrics(sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)).Meter(""))
	if err != nil {
		t.Fatal(err)
	}
	m.observe(wire.VerbSubscribe, nil, time.Millisecond)
	m.observe(wire.VerbSubscribe, wire.Errorf(wire.CodeBadField, "no"), time.Millisecond)
	var all metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	got := map[string]int64{}
	for _, metric := range all.ScopeMetrics[0].Metrics {
		if sum, ok := metric.Data.(metricdata.Sum[int64]); ok {
			for _, p := range sum.DataPoints {
				code, _ := p.Attributes.Value("err_code")
				got[code.AsString()] += p.Value
			}
		}
	}
	if len(got) != 2 || got["none"] != 1 || got["300002"] != 1 {
		t.Errorf("counted %v, want one without an error and one of 300002", got)
	}
}
