package emitter

import (
	"context"

	"github.com/rs/zerolog"

	"github.com/sluicehq/sluice/pkg/bus"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/internal/pool/core"
)

// maxNotices bounds the advisories that wait to be published; beyond it they
// are dropped, since advisories must never hold deliveries back.
const maxNotices = 4096

// advisories publishes what users may want to know of pools.
type advisories struct {
	advisor *bus.Advisor
	notices chan notice
	log     zerolog.Logger
}

// notice is an advisory on its way out.
type notice struct {
	name string
	core.Notice
}

func newAdvisories(advisor *bus.Advisor, log zerolog.Logger) *advisories {
	return &advisories{advisor: advisor, notices: make(chan notice, maxNotices), log: log}
}

// tell has an advisory published, soon and without waiting for it.
func (a *advisories) tell(what, name, detail string, data map[string]any) {
	a.tellOf(name, core.Notice{What: what, Detail: detail, Data: data})
}

func (a *advisories) tellOf(name string, n core.Notice) {
	select {
	case a.notices <- notice{name, n}:
	default:
		a.log.Warn().Str("what", n.What).Str("subscription", name).Msg("too many advisories at once, one dropped")
	}
}

// Run publishes advisories until ctx ends, and what is left then.
func (a *advisories) Run(ctx context.Context) error {
	for {
		select {
		case n := <-a.notices:
			a.publish(n)
		case <-ctx.Done():
			for range len(a.notices) {
				a.publish(<-a.notices)
			}
			return nil
		}
	}
}

func (a *advisories) publish(n notice) {
	a.advisor.PublishWith(n.Trail, n.What, wire.Advisory{Name: n.name, Detail: n.Detail, Data: n.Data})
}
