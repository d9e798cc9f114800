package reader

import (
	"github.com/sluicehq/sluice/services/internal/match"
	"github.com/sluicehq/sluice/services/internal/pool"
)

// audience is the pools of a reader, and what they ask for together.
type audience struct {
	index   *match.Index[*pool.Pool]
	pausing map[*pool.Pool]struct{} // those that are to pause at a gap
	filters match.Filters           // what the reader asks for: all that its pools want, and perhaps more
}

func newAudience(filters match.Filters) audience {
	return audience{filters: filters, index: match.NewIndex[*pool.Pool](), pausing: map[*pool.Pool]struct{}{}}
}

// admit adds a pool. What the reader asks for is left to the caller.
func (a *audience) admit(p *pool.Pool) error {
	if err := a.index.Add(p, p.Matcher()); err != nil {
		return err
	}
	if p.PausesAtGap() {
		a.pausing[p] = struct{}{}
	}
	return nil
}

// drop takes a pool out, if it is there, and leaves it at a position.
func (a *audience) drop(p *pool.Pool, position uint64) {
	a.index.Remove(p)
	delete(a.pausing, p)
	p.Detach(position)
}
