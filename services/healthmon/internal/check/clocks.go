package check

import (
	"fmt"
	"time"

	"github.com/sluicehq/sluice/pkg/wire"
)

// clocks reports the clocks that are off by more than they may, beyond any doubt.
// A clock that was not compared says nothing.
func (j *judge) clocks() {
	for ref := range j.prev.Issues {
		if _, asked := j.s.Clocks[ref.Name]; ref.Kind == wire.IssueClockSkew && !asked && j.s.Emitters[ref.Name] {
			j.keep(ref.Kind, ref.Name, "")
		}
	}
	for name, c := range j.s.Clocks {
		if c.Off.Abs()-c.Doubt <= j.cfg.Skew {
			continue
		}
		way := "ahead of"
		if c.Off < 0 {
			way = "behind"
		}
		j.lasting(finding{
			kind: wire.IssueClockSkew, name: name,
			detail: fmt.Sprintf("the clock of %s is %s the server's by more than %s", name, way, j.cfg.Skew),
			evidence: map[string]any{
				"service": c.Service, "off_ms": c.Off.Milliseconds(), "doubt_ms": c.Doubt.Milliseconds(),
				"allowed": wire.Duration(j.cfg.Skew).String(),
			},
		}, time.Time{}, j.cfg.Grace)
	}
}
