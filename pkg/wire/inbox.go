package wire

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// DefaultInboxPrefix begins the inboxes of clients that name no prefix.
const DefaultInboxPrefix = "_INBOX"

// importReplies begins the reply subjects that nats-server makes up for
// requests from other accounts.
const importReplies = "_R_"

// IsInbox reports whether reply is an inbox: where Sluice may send an answer.
// An asker can write any subject as its reply. An answer is sent with the rights of
// the one who answers, so that one sent elsewhere could delete a stream, or
// write into a bucket. Prefix is the services' own; "" is the default one.
func IsInbox(reply, prefix string) bool {
	if !literal(reply) {
		return false
	}
	for _, p := range []string{DefaultInboxPrefix, importReplies, prefix} {
		if rest, ok := strings.CutPrefix(reply, p); ok && p != "" && strings.HasPrefix(rest, ".") {
			return true
		}
	}
	return false
}

// IsAnswerSubject reports whether reply is where a subscriber may answer a
// delivery: the subject that an emitter of any namespace has made up, or an
// inbox. Prefix is that of the subscriber's own inboxes.
func IsAnswerSubject(reply, prefix string) bool {
	if IsInbox(reply, prefix) {
		return true
	}
	rest, ok := strings.CutPrefix(reply, InternalPrefix)
	_, rest, _ = strings.Cut(rest, ".") // the namespace
	return ok && literal(reply) && strings.HasPrefix(rest, answersToken+".")
}

// literal reports whether s is one subject, and not a wildcard for several.
func literal(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '*' || r == '>' }) &&
		!slices.Contains(strings.Split(s, "."), "")
}

var inboxPrefix = regexp.MustCompile(`^_[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$`)

// maxInboxPrefix bounds a prefix of inboxes, in bytes.
const maxInboxPrefix = 64

// ValidateInboxPrefix reports why s may not begin the inboxes of a service. It
// must begin with an underscore: no store and no delivery has such a subject,
// so that an inbox is never anything else.
func ValidateInboxPrefix(s string) error {
	first, _, _ := strings.Cut(s, ".")
	switch {
	case len(s) > maxInboxPrefix || !inboxPrefix.MatchString(s):
		return fmt.Errorf("%q: want _ and then letters, digits, _ and -, in tokens with dots between them; at most %d", s, maxInboxPrefix)
	case first == strings.TrimSuffix(InternalPrefix, "."), first == importReplies, first == "_GR_":
		return fmt.Errorf("%q: subjects that begin with %s are taken", s, first)
	}
	return nil
}
