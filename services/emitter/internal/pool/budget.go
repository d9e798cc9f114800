package pool

import "sync/atomic"

// DefaultMaxRanges is how many finished ranges a checkpoint has at most where
// the server's limit of a message leaves room for them.
const DefaultMaxRanges = 16384

const (
	minRanges   = 64
	bytesARange = 42 // of JSON, with two sequences of 19 digits
)

// RangesWithin is how many finished ranges a checkpoint may have where a
// message may have maxPayload bytes: half of them, since half as many ranges
// may come on top (see Pool.Checkpoint), and the rest of the entry does.
func RangesWithin(maxPayload int64) int {
	return int(min(max(maxPayload/2/bytesARange, minRanges), DefaultMaxRanges))
}

// Budget bounds the bytes of events that all pools of an instance hold. A pool
// gets more only while it holds at most a quarter of what is left (a dynamic
// threshold, after Choudhury and Hahne, 1998). So n pools that let nothing go
// leave 4 parts in n+4 to the others if they fill up side by side, and at least
// (4/5)^n if they do one after the other.
type Budget struct {
	max  int64
	used atomic.Int64
}

// leave is how many times what it holds a pool must leave to others.
const leave = 4

// NewBudget returns a budget of max bytes.
func NewBudget(maxBytes int64) *Budget { return &Budget{max: maxBytes} }

// Used is how many bytes are held now.
func (b *Budget) Used() int64 { return b.used.Load() }

// take takes n bytes for a pool that holds so many already.
func (b *Budget) take(n, held int) bool {
	if b.used.Add(int64(n))+leave*int64(held) > b.max {
		b.used.Add(int64(-n))
		return false
	}
	return true
}

// fits reports whether take would.
func (b *Budget) fits(n, held int) bool { return b.used.Load()+int64(n)+leave*int64(held) <= b.max }

// force takes what an empty pool needs for one event, whatever is left.
func (b *Budget) force(n int) { b.used.Add(int64(n)) }

func (b *Budget) give(n int) { b.used.Add(int64(-n)) }
