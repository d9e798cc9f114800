package subscription

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/sluicehq/sluice/pkg/strictjson"
	"github.com/sluicehq/sluice/pkg/subjects"
	"github.com/sluicehq/sluice/pkg/wire"
)

func longer(limit int) string { return fmt.Sprintf("longer than %d characters", limit) }

// DeliveryFault says why events may not be delivered to subject, "" where they
// may. Whether the store captures the subject is for Captures to tell.
func DeliveryFault(subject string, ns wire.Namespace) string {
	if reason := subjectFault(subject, MaxSubjectLength); reason != "" {
		return reason
	}
	first, _, _ := strings.Cut(subject, ".")
	switch {
	case strings.ContainsAny(subject, "*>"):
		return "want a literal subject, without the wildcards * and >"
	case strings.HasPrefix(subject, "$"):
		return "subjects that begin with $ belong to NATS"
	case strings.HasPrefix(subject, strings.TrimSuffix(wire.InternalPrefix, ".")):
		return "subjects that begin with _SLUICE are Sluice's own"
	case strings.HasPrefix(subject, "_"):
		return "subjects that begin with _ are for replies"
	case first == string(ns):
		return fmt.Sprintf("subjects that begin with %s. are Sluice's own", ns)
	case wire.OwnSubject(subject):
		return fmt.Sprintf("%s is a subject of a Sluice whose namespace is %s", strictjson.Clip(subject), first)
	}
	return ""
}

// subjectFault judges what literal subjects and filters have in common.
func subjectFault(subject string, limit int) string {
	switch {
	case subject == "":
		return "must not be empty"
	case utf8.RuneCountInString(subject) > limit:
		return longer(limit)
	case !utf8.ValidString(subject):
		return "want valid UTF-8"
	case strings.ContainsFunc(subject, unicode.IsSpace):
		return "must not hold white space"
	case strings.ContainsFunc(subject, unicode.IsControl):
		return "must not hold control characters"
	case slices.Contains(strings.Split(subject, "."), ""):
		return "must not have empty tokens (a dot at an end, or two together)"
	}
	return ""
}

// filterFault says what is wrong with a by_stream filter.
func filterFault(filter string) string {
	if filter == wire.AllStreams {
		return ""
	}
	if reason := subjectFault(filter, MaxFilterLength); reason != "" {
		return reason
	}
	tokens := strings.Split(filter, ".")
	for i, t := range tokens {
		switch {
		case t == ">" && i < len(tokens)-1:
			return "> may only be the last token"
		case len(t) > 1 && strings.ContainsAny(t, "*>"):
			return fmt.Sprintf("%q: a wildcard stands for whole tokens and must be a token by itself", strictjson.Clip(t))
		}
	}
	return ""
}

func (f *fields) store(path, store string, ns wire.Namespace) {
	if store == "" {
		f.Add(path, "is required")
		return
	}
	f.stream(path, store, ns)
}

// target judges the stream that events are delivered to, if there is one.
func (f *fields) target(path string, s *wire.Spec, ns wire.Namespace) {
	switch s.Deliver.Stream {
	case "":
	case s.Store:
		f.Refuse(wire.CodeBadDelivery, path, "it is the store itself: deliveries would become events")
	default:
		f.stream(path, s.Deliver.Stream, ns)
	}
}

func (f *fields) stream(path, name string, ns wire.Namespace) {
	switch {
	case len(name) > MaxStoreLength:
		f.Add(path, "%s", longer(MaxStoreLength))
	case strings.ContainsFunc(name, oddInStreamName):
		f.Add(path, "want the name of a stream: no white space, control characters, dots, wildcards or slashes")
	case OwnStream(name, ns):
		f.Add(path, "%s is Sluice's own", name)
	}
}

func oddInStreamName(r rune) bool {
	return unicode.IsSpace(r) || !unicode.IsPrint(r) || r == utf8.RuneError || strings.ContainsRune(`.*>/\`, r)
}

// OwnStream reports whether a stream belongs to the installation itself, so
// that it cannot be a store.
func OwnStream(stream string, ns wire.Namespace) bool {
	switch stream {
	case ns.StreamAdvisories(), ns.StreamParked(), ns.StreamQuarantine():
		return true
	}
	return strings.HasPrefix(stream, "KV_"+string(ns)+"_")
}

// Captures returns the first of a stream's subjects that can match a message on
// subject, which may be a filter; "" where none does.
func Captures(streamSubjects []string, subject string) string {
	for _, s := range streamSubjects {
		if subjects.Overlap(s, subject) {
			return s
		}
	}
	return ""
}
