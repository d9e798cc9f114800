package match

import (
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats-server/v2/server/gsl"

	"github.com/sluicehq/sluice/pkg/pattern"
	"github.com/sluicehq/sluice/pkg/selector"
)

// Bounds of how often one subscription is filed: in each cell, which is one of
// its filters with one of its types, by all alternatives of its patterns. One
// beyond them is filed by its filters alone, and if that is still too much only
// once; what it was not filed by is checked when it is found.
const (
	maxCells  = 256
	maxPlaces = 1 << 14 // at most about 3 MB
	// maxAtOnce bounds in how many cells one event looks for the same patterns.
	maxAtOnce = 4
)

// Index holds the subscriptions of one reader. A subscription is filed by each
// of its subject filters, there by each of its types, and there by a leaf of
// its patterns. So the cost for an event does not grow with the subscriptions
// that do not match: of distinct filters only few match one subject, since
// each of its tokens is there as itself or as a wildcard. And a payload is
// read only if a pattern is looked for among its subject and type.
//
// An Index is not safe for concurrent use.
type Index[K comparable] struct {
	entries map[K]*entry[K]
	filters map[string]*group[K]
	wild    *gsl.GenericSublist[*group[K]] // those of filters with wildcards, but for everySubject
	paths   pattern.Paths                  // of all patterns: one reading of an event serves them all
	round   uint64                         // counts the events that were looked up

	// Of the look-up that is going on.
	event *selector.Event
	found []K
	dear  []K             // of which nobody knows, since they are too costly to judge
	tried int             // entries with patterns, whatever came of it
	visit func(*group[K]) // methods of the index, made once
	allow func(*entry[K]) int
	judge func(*entry[K], pattern.Verdict)
}

// everySubject is the filter of subscriptions that have none. It is kept out
// of the trie, which it would always match.
const everySubject = ">"

// group is what is filed under one subject filter.
type group[K comparable] struct {
	any   cell[K] // of any type
	types map[string]*cell[K]
}

// cell is what is filed under one subject filter and one type.
type cell[K comparable] struct {
	plain    []*slot[K] // subscriptions without patterns
	patterns *pattern.Index[*entry[K]]
}

// entry is one subscription in the index.
type entry[K comparable] struct {
	key     K
	matcher *selector.Matcher
	filters []string
	types   []string
	slots   []slot[K] // never grown: the cells' plain lists point into it
	round   uint64    // the last one that it was looked at in
	budget  int       // steps that its patterns may take on one event

	anyType, anySubject bool // it was filed without its types, without its filters
}

// slot is one entry's place in one cell. It knows its position, so that taking
// it out costs the same however full the cell is.
type slot[K comparable] struct {
	entry *entry[K]
	in    *cell[K]
	pos   int
}

// NewIndex returns an empty index.
func NewIndex[K comparable]() *Index[K] {
	x := &Index[K]{
		entries: map[K]*entry[K]{},
		filters: map[string]*group[K]{},
		wild:    gsl.NewSublist[*group[K]](),
	}
	x.visit, x.allow, x.judge = x.visitGroup, x.allowed, x.judged
	return x
}

// Len is the number of subscriptions in the index.
func (x *Index[K]) Len() int { return len(x.entries) }

// Has reports whether k is in the index.
func (x *Index[K]) Has(k K) bool {
	_, ok := x.entries[k]
	return ok
}

// Keys calls f for each subscription in the index, which f may remove.
func (x *Index[K]) Keys(f func(K)) {
	for k := range x.entries {
		f(k)
	}
}

// Add puts k into the index, in place of what stood there under k. After an
// error k is not in it.
func (x *Index[K]) Add(k K, m *selector.Matcher) error {
	x.Remove(k)
	e := newEntry(k, m)
	for i, filter := range e.filters {
		g, err := x.group(filter)
		if err != nil {
			e.filters = e.filters[:i] // those that are done
			x.unfile(e)
			return fmt.Errorf("index subject filter %q: %w", filter, err)
		}
		x.file(g, e)
	}
	x.entries[k] = e
	return nil
}

func newEntry[K comparable](k K, m *selector.Matcher) *entry[K] {
	e := &entry[K]{key: k, matcher: m, filters: m.Subjects(), types: m.Types(), budget: pattern.Budget}
	if e.filters == nil {
		e.filters = []string{everySubject}
	}
	size := max(1, m.PatternSize())
	if cells := len(e.filters) * len(e.types); cells > maxCells || cells*size > maxPlaces {
		e.types, e.anyType = nil, true
	}
	if len(e.filters)*size > maxPlaces || m.HasPatterns() && atOnce(e.filters) > maxAtOnce {
		e.filters, e.anySubject = []string{everySubject}, true
	}
	if !m.HasPatterns() {
		e.slots = make([]slot[K], 0, len(e.filters)*max(1, len(e.types)))
	}
	return e
}

// Remove takes k out of the index; it may be absent.
func (x *Index[K]) Remove(k K) {
	if e, ok := x.entries[k]; ok {
		delete(x.entries, k)
		x.unfile(e)
	}
}

func (x *Index[K]) unfile(e *entry[K]) {
	for i := range e.slots {
		e.slots[i].in.drop(&e.slots[i])
	}
	for _, filter := range e.filters {
		g := x.filters[filter]
		if g.unfile(e); g.empty() {
			delete(x.filters, filter)
			if inTrie(filter) {
				_ = x.wild.Remove(filter, g) // present, since group put it there
			}
		}
	}
}

// group returns the group of a filter, made if it is not there.
func (x *Index[K]) group(filter string) (*group[K], error) {
	g := x.filters[filter]
	if g != nil {
		return g, nil
	}
	g = new(group[K])
	switch {
	case inTrie(filter):
		if err := x.wild.Insert(filter, g); err != nil {
			return nil, err
		}
	case strings.Contains("."+filter+".", ".."):
		return nil, errors.New("it has an empty token")
	}
	x.filters[filter] = g
	return g, nil
}

// inTrie reports whether a filter has wildcards to be looked for. One without
// is found by the subject itself, in less time, and the trie would take 900
// bytes for each.
func inTrie(filter string) bool {
	return filter != everySubject && strings.ContainsAny(filter, "*>")
}

// file puts an entry under one of its filters.
func (x *Index[K]) file(g *group[K], e *entry[K]) {
	if e.types == nil {
		x.put(&g.any, e)
	}
	for _, t := range e.types {
		c := g.types[t]
		if c == nil {
			c = new(cell[K])
			if g.types == nil {
				g.types = make(map[string]*cell[K])
			}
			g.types[t] = c
		}
		x.put(c, e)
	}
}

func (x *Index[K]) put(c *cell[K], e *entry[K]) {
	if !e.matcher.HasPatterns() {
		e.slots = append(e.slots, slot[K]{entry: e, in: c, pos: len(c.plain)})
		c.plain = append(c.plain, &e.slots[len(e.slots)-1])
		return
	}
	if c.patterns == nil {
		c.patterns = &pattern.Index[*entry[K]]{Paths: &x.paths}
	}
	envelope, payload := e.matcher.Patterns()
	c.patterns.Add(e, envelope, payload)
}

func (c *cell[K]) drop(s *slot[K]) {
	last := len(c.plain) - 1
	c.plain[s.pos] = c.plain[last]
	c.plain[s.pos].pos = s.pos
	c.plain[last] = nil
	c.plain = c.plain[:last]
}

func (c *cell[K]) empty() bool {
	return len(c.plain) == 0 && (c.patterns == nil || c.patterns.Len() == 0)
}

func (g *group[K]) empty() bool { return g.any.empty() && len(g.types) == 0 }

// unfile takes an entry out of the group's patterns, and drops what is empty
// after that.
func (g *group[K]) unfile(e *entry[K]) {
	if e.types == nil && g.any.patterns != nil {
		g.any.patterns.Remove(e)
	}
	for _, t := range e.types {
		c := g.types[t]
		if c.patterns != nil {
			c.patterns.Remove(e)
		}
		if c.empty() {
			delete(g.types, t)
		}
	}
}

// Match returns the subscriptions that e goes to, and those that are too costly
// to judge by it, each once, in no particular order. The slices are valid until
// the next call.
func (x *Index[K]) Match(e *selector.Event) (found, dear []K) {
	x.round++
	x.event, x.found, x.dear, x.tried = e, x.found[:0], x.dear[:0], 0
	if g := x.filters[everySubject]; g != nil {
		x.visitGroup(g)
	}
	if g := x.filters[e.Subject]; g != nil {
		x.visitGroup(g)
	}
	if x.wild.Count() > 0 {
		x.wild.Match(e.Subject, x.visit)
	}
	x.event = nil
	return x.found, x.dear
}

func (x *Index[K]) visitGroup(g *group[K]) {
	x.visitCell(&g.any)
	if len(g.types) == 0 {
		return
	}
	if c := g.types[x.event.Type]; c != nil {
		x.visitCell(c)
	}
}

func (x *Index[K]) visitCell(c *cell[K]) {
	for _, s := range c.plain {
		if x.meet(s.entry) {
			x.found = append(x.found, s.entry.key)
		}
	}
	if c.patterns != nil {
		x.tried += c.patterns.Match(x.event.Document(), x.allow, x.judge)
	}
}

// meet takes an entry that was found, and reports whether it is to be looked at:
// one that has several filters may be found again.
func (x *Index[K]) meet(e *entry[K]) bool {
	if e.round == x.round {
		return false
	}
	e.round = x.round
	return (!e.anyType || e.matcher.MatchType(x.event)) && (!e.anySubject || e.matcher.MatchSubject(x.event))
}

func (x *Index[K]) allowed(e *entry[K]) int {
	if !x.meet(e) {
		return 0
	}
	return e.budget
}

func (x *Index[K]) judged(e *entry[K], v pattern.Verdict) {
	e.pay(v)
	switch v {
	case pattern.Matches:
		x.found = append(x.found, e.key)
	case pattern.TooCostly:
		x.dear = append(x.dear, e.key)
	}
}

// What a subscription pays that is too costly to judge: an eighth of its budget
// is left to it, but not less than leastBudget, which is a millisecond of work.
// It has it back after as many events that it can judge.
const (
	leastBudget = pattern.Budget / 64
	regained    = pattern.Budget / 64
)

// pay moves the budget of an entry. Without that, one that exceeds it with
// every event would slow its neighbours down for good, and a hundred of them
// would stop them.
func (e *entry[K]) pay(v pattern.Verdict) {
	if v == pattern.TooCostly {
		e.budget = max(e.budget/8, leastBudget)
	} else {
		e.budget = min(e.budget+regained, pattern.Budget)
	}
}
