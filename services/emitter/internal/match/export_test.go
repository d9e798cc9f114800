package match

// Tried is how many entries with patterns the last Match has tried.
func (x *Index[K]) Tried() int { return x.tried }

// Bare reports whether nothing is left of what was filed.
func (x *Index[K]) Bare() bool { return len(x.filters) == 0 && x.wild.Count() == 0 }

// Cells is in how many places something is filed.
func (x *Index[K]) Cells() int {
	n := 0
	for _, g := range x.filters {
		n += len(g.types)
		if !g.any.empty() {
			n++
		}
	}
	return n
}
