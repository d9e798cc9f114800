package pattern

import "testing"

// The package documentation draws this index.
func TestIndex_FilesTheDocumentedExampleAsItIsDrawn(t *testing.T) {
	t.Parallel()
	var x Index[string]
	x.Add("a", mustPayload(t, `{"action": ["opened", "closed"], "draft": [{"anything-but": true}]}`))
	x.Add("b", mustPayload(t, `{"action": ["opened"], "size": [{"numeric": [">", 100]}]}`), mustEvent(t, `{"type": ["pull"]}`))
	x.Add("c", mustEvent(t, `{"stream": [{"prefix": "github."}]}`), mustPayload(t, `{"action": ["x"]}`))

	filed := func(root *pathNode[string], name string, of term) string {
		if root.children[name] == nil {
			return ""
		}
		b, keys := root.children[name].find(&of), ""
		for b != nil && len(keys) < len(b.slots) {
			keys += b.slots[len(keys)].entry.key
		}
		return keys
	}
	for what, got := range map[string][2]string{
		"type":   {filed(&x.envelope, "type", term{kind: termString, text: "pull"}), "b"},
		"stream": {filed(&x.envelope, "stream", term{kind: termPrefix, text: "github."}), "c"},
		"opened": {filed(&x.payload, "action", term{kind: termString, text: "opened"}), "a"},
		"closed": {filed(&x.payload, "action", term{kind: termString, text: "closed"}), "a"},
	} {
		if got[0] != got[1] {
			t.Errorf("under %s is %q, want %q", what, got[0], got[1])
		}
	}
	if len(x.envelope.children) != 2 || len(x.payload.children) != 1 || x.unhinted != 1 || len(x.residual.slots) != 0 {
		t.Errorf("envelope %v, payload %v, unhinted %d, residual %d", x.envelope.children, x.payload.children, x.unhinted, len(x.residual.slots))
	}
}
