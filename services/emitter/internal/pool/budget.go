package pool

import "sync/atomic"

// Budget bounds the bytes of events that all pools of an instance hold.
type Budget struct {
	max  int64
	used atomic.Int64
}

// NewBudget returns a budget of max bytes.
func NewBudget(maxBytes int64) *Budget { return &Budget{max: maxBytes} }

// Used is how many bytes are held now.
func (b *Budget) Used() int64 { return b.used.Load() }

func (b *Budget) take(n int) bool {
	if b.used.Add(int64(n)) > b.max {
		b.used.Add(int64(-n))
		return false
	}
	return true
}

// fits reports whether n bytes are left.
func (b *Budget) fits(n int) bool { return b.used.Load()+int64(n) <= b.max }

// force takes what an empty pool needs for one event, whatever is left.
func (b *Budget) force(n int) { b.used.Add(int64(n)) }

func (b *Budget) give(n int) { b.used.Add(int64(-n)) }
