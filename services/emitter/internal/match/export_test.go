package match

// Tried is how many entries with patterns the last Match has tried.
func (x *Index[K]) Tried() int { return x.tried }

// Bare reports whether nothing is left of what was filed.
func (x *Index[K]) Bare() bool { return len(x.filters) == 0 && x.wild.Count() == 0 }
