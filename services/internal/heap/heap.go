// Package heap keeps what waits for a time, the first due in front.
package heap

import "time"

// Due is embedded by what a heap holds: when it is due, and where it stands.
type Due struct {
	At    time.Time // while it is in a heap, changed by Of.Set only
	place int       // one more than its index in the heap; 0: it is in none
}

func (d *Due) due() *Due { return d }

// Waits reports whether it is in a heap.
func (d *Due) Waits() bool { return d.place > 0 }

// Of is a heap of pointers to structs that embed Due. Its first is due first.
type Of[T interface{ due() *Due }] []T

// Set has an item wait in the heap for a time, whether it is there already or not.
func (h *Of[T]) Set(it T, at time.Time) {
	d := it.due()
	d.At = at
	if d.place == 0 {
		*h = append(*h, it)
		d.place = len(*h)
	}
	h.settle(d.place - 1)
}

// Remove takes an item out, if it is there.
func (h *Of[T]) Remove(it T) {
	i, last := it.due().place-1, len(*h)-1
	if i < 0 {
		return
	}
	h.swap(i, last)
	var none T
	(*h)[last] = none // not kept by the array
	*h = (*h)[:last]
	it.due().place = 0
	if i < last {
		h.settle(i)
	}
}

// settle moves the item at i to where its time belongs.
func (h Of[T]) settle(i int) {
	for i > 0 && h.before(i, (i-1)/2) {
		h.swap(i, (i-1)/2)
		i = (i - 1) / 2
	}
	for {
		first := 2*i + 1
		if first+1 < len(h) && h.before(first+1, first) {
			first++
		}
		if first >= len(h) || !h.before(first, i) {
			return
		}
		h.swap(i, first)
		i = first
	}
}

func (h Of[T]) before(i, j int) bool { return h[i].due().At.Before(h[j].due().At) }

func (h Of[T]) swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].due().place, h[j].due().place = i+1, j+1
}
