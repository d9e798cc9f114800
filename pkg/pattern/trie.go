package pattern

import "strings"

// trie holds buckets by a text that values begin with. An edge carries all
// bytes up to the next bucket or branch, so a look-up ends where the value
// leaves the tree, and costs no more than the value's length.
type trie[K comparable] struct{ root *trieNode[K] }

type trieNode[K comparable] struct {
	label  string         // the text of the edge that leads here; empty at the root only
	kids   []*trieNode[K] // in the order of their labels' first bytes
	bucket *bucket[K]     // nil where texts only branch
}

func (t *trie[K]) empty() bool { return t.root == nil }

// find returns where the kid is, or would be, whose label begins with c.
func (n *trieNode[K]) find(c byte) (int, bool) {
	lo, hi := 0, len(n.kids)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if n.kids[mid].label[0] < c {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo, lo < len(n.kids) && n.kids[lo].label[0] == c
}

func (t *trie[K]) get(key string) *bucket[K] {
	n := t.root
	for n != nil && key != "" {
		n, key = n.step(key)
	}
	if n == nil {
		return nil
	}
	return n.bucket
}

// step follows the edge that key begins with, and returns what is left of it.
func (n *trieNode[K]) step(key string) (*trieNode[K], string) {
	if i, ok := n.find(key[0]); ok {
		if rest, ok := strings.CutPrefix(key, n.kids[i].label); ok {
			return n.kids[i], rest
		}
	}
	return nil, ""
}

// put adds the bucket of a key that is not there.
func (t *trie[K]) put(key string, b *bucket[K]) {
	if t.root == nil {
		t.root = new(trieNode[K])
	}
	n := t.root
	for key != "" {
		i, ok := n.find(key[0])
		if !ok {
			n.kids = append(n.kids, nil)
			copy(n.kids[i+1:], n.kids[i:])
			n.kids[i] = &trieNode[K]{label: key}
			n = n.kids[i]
			break
		}
		kid := n.kids[i]
		c := common(kid.label, key)
		if c < len(kid.label) {
			n.kids[i] = &trieNode[K]{label: kid.label[:c], kids: []*trieNode[K]{kid}}
			kid.label = kid.label[c:]
		}
		n, key = n.kids[i], key[c:]
	}
	n.bucket = b
}

func common(a, b string) int {
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	return i
}

// remove takes out the bucket of a key that is there.
func (t *trie[K]) remove(key string) {
	if t.root.remove(key); t.root.bucket == nil && len(t.root.kids) == 0 {
		t.root = nil
	}
}

func (n *trieNode[K]) remove(key string) {
	if key == "" {
		n.bucket = nil
		return
	}
	i, _ := n.find(key[0])
	kid := n.kids[i]
	kid.remove(key[len(kid.label):])
	switch {
	case kid.bucket != nil:
	case len(kid.kids) == 0:
		n.kids = append(n.kids[:i], n.kids[i+1:]...)
	case len(kid.kids) == 1:
		only := kid.kids[0]
		only.label = kid.label + only.label
		n.kids[i] = only
	}
}

// selectivity counts the entries below the prefixes of a key.
func (t *trie[K]) selectivity(key string) int {
	total := 0
	for n := t.root; n != nil && key != ""; {
		if n.bucket != nil {
			total += len(n.bucket.slots)
		}
		n, key = n.step(key)
	}
	return total
}

// walk hits the bucket of each key that text begins with.
func (t *trie[K]) walk(s *search[K], text string) {
	n := t.root
	for n != nil {
		s.hit(n.bucket)
		if text == "" {
			return
		}
		n, text = n.step(text)
	}
}

// walkBack hits the bucket of each key that text, read backwards, begins with.
func (t *trie[K]) walkBack(s *search[K], text string) {
	n := t.root
	for n != nil {
		s.hit(n.bucket)
		if text == "" {
			return
		}
		i, ok := n.find(text[len(text)-1])
		if !ok {
			return
		}
		if n = n.kids[i]; !endsReversed(text, n.label) {
			return
		}
		text = text[:len(text)-len(n.label)]
	}
}

// endsReversed reports whether text ends with the label read backwards.
func endsReversed(text, label string) bool {
	if len(label) > len(text) {
		return false
	}
	for i := range len(label) {
		if label[i] != text[len(text)-1-i] {
			return false
		}
	}
	return true
}

func reverse(s string) string {
	out := make([]byte, len(s))
	for i := range len(s) {
		out[len(s)-1-i] = s[i]
	}
	return string(out)
}
