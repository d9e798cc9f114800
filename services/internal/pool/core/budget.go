package core

import "sync/atomic"

// Budget bounds the bytes of events that all pools of an instance hold. A pool
// gets more only while it holds at most a quarter of what is left (a dynamic
// threshold, after Choudhury and Hahne, 1998). So n pools that let nothing go
// leave 4 parts in n+4 to the others if they fill up side by side, and at least
// (4/5)^n if they do one after the other.
//
// It is the one thing that the cores of an instance share. It is a counter:
// nobody waits for it.
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

// tryTake takes n bytes for a pool that holds so many already, if it may.
func (b *Budget) tryTake(n, held int) bool {
	if b.used.Add(int64(n))+leave*int64(held) > b.max {
		b.used.Add(int64(-n))
		return false
	}
	return true
}

// fits reports whether tryTake would take them.
func (b *Budget) fits(n, held int) bool { return b.used.Load()+int64(n)+leave*int64(held) <= b.max }

// take takes n bytes, whatever is left.
func (b *Budget) take(n int) { b.used.Add(int64(n)) }

func (b *Budget) give(n int) { b.used.Add(int64(-n)) }
