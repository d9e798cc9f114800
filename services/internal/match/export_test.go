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

// Budget is how many steps k may take on the next event.
func (x *Index[K]) Budget(k K) int { return x.entries[k].budget }

// The bounds of a budget.
const (
	LeastBudget = leastBudget
	Regained    = regained
)

// AtOnce is how many of the filters one subject may match at most, or more.
func AtOnce(filters []string) int { return atOnce(filters) }
