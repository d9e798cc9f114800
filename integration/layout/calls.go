package layout

import (
	"fmt"
	"go/ast"
	pathpkg "path"
	"slices"
)

// microPackage answers wherever an asker wants; pkg/endpoint uses its types.
const microPackage = "github.com/nats-io/nats.go/micro"

// readsReplies names the files that may look at a message's reply subject, and
// why. All others leave that to bus.Responder: an answer is sent with the
// rights of the service, so that it must never go where a stranger wants.
func readsReplies() map[string]string {
	return map[string]string{
		"pkg/bus/responder.go":              "the one place that sends answers",
		"pkg/endpoint/request.go":           "tells whether anybody waits for an answer",
		"pkg/client/delivery.go":            "answers deliveries for a subscriber; checks the subject itself",
		"pkg/feed/session.go":               "reads where a message stands from its reply subject, and answers none",
		"services/internal/pool/carrier.go": "writes the reply subjects of deliveries",
		"pkg/presence/round.go":             "writes the reply subjects of probes",
		"pkg/bucket/write.go":               "writes the reply subjects of writes",
	}
}

// encodesJSON names the files that may call the encoder of encoding/json. All
// others call wire.Marshal, which leaves < and > as people wrote them.
func encodesJSON() map[string]string {
	return map[string]string{
		"pkg/wire/json.go":     "it is wire.Marshal",
		"pkg/pattern/value.go": "the pattern language knows nothing of the contract",
	}
}

// CheckCalls returns what is wrong with the calls in a file that is no test
// and belongs to a program.
func CheckCalls(name string, file *ast.File) []string {
	if !under(name, "pkg") && !under(name, "services") || under(name, "pkg/natstest") {
		return nil
	}
	var faults []string
	fault := func(format string, args ...any) { faults = append(faults, name+fmt.Sprintf(format, args...)) }
	for _, imported := range file.Imports {
		if imported.Path.Value == `"`+microPackage+`"` && !under(name, "pkg/endpoint") {
			fault(" imports %s: it answers wherever an asker wants; use pkg/endpoint", microPackage)
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		of, _ := sel.X.(*ast.Ident)
		switch what := sel.Sel.Name; {
		case slices.Contains([]string{"Respond", "RespondMsg", "RespondJSON"}, what):
			fault(" calls %s: it answers wherever an asker wants; use bus.Responder", what)
		case slices.Contains([]string{"Watch", "WatchAll", "WatchFiltered", "ListKeys", "ListKeysFiltered", "OrderedConsumer"}, what):
			fault(" calls %s: an entry with a header of the protocol stops it; use bucket.KeyValue's Follow, or pkg/feed", what)
		case what == "Reply" && readsReplies()[name] == "":
			fault(" looks at a reply subject: leave that to bus.Responder, or give the reason in readsReplies")
		case of != nil && of.Name == "json" && encodesJSON()[name] == "" &&
			slices.Contains([]string{"Marshal", "MarshalIndent", "NewEncoder"}, what):
			fault(" calls json.%s: use wire.Marshal", what)
		case of != nil && of.Name == "time" && isPure(pathpkg.Dir(name)) && slices.Contains([]string{"Now", "Since", "Until"}, what):
			fault(" calls time.%s: it is told the time", what)
		}
		return true
	})
	return faults
}
