package wire_test

import (
	"strings"
	"testing"

	"github.com/sluicehq/sluice/pkg/wire"
)

func TestInboxesAreToldFromEveryOtherSubject(t *testing.T) {
	t.Parallel()
	const own = "_SLUICE_INBOX"
	for _, tt := range []struct {
		reply         string
		inbox, answer bool // with the prefix of our own
	}{
		{"_INBOX.a", true, true},
		{"_INBOX.triage.a.b", true, true},
		{"_R_.a.b", true, true},
		{"_SLUICE_INBOX.a.1", true, true},
		{"_SLUICE.sluice.ack.emitter-1.0.a", false, true},
		{"_SLUICE.other.ack.x", false, true},
		{"", false, false},
		{"_INBOX", false, false},
		{"_INBOX.", false, false},
		{"_INBOXES.a", false, false},
		{"_INBOX..a", false, false},
		{"_INBOX.a.", false, false},
		{"_INBOX.>", false, false},
		{"_INBOX.*", false, false},
		{"_INBOX.a*", false, false},
		{"_INBOX.a b", false, false},
		{"_INBOX.a\tb", false, false},
		{"_INBOX.a\r\nPUB x 0", false, false},
		{"_inbox.a", false, false},
		{"_R_", false, false},
		{"_SLUICE_INBOX", false, false},
		{"_SLUICE_INBOXES.a", false, false},
		{"_TEAM.a", false, false},
		{"$JS.API.STREAM.DELETE.ORDERS", false, false},
		{"$KV.sluice_pools.other", false, false},
		{"$SYS.REQ.SERVER.PING", false, false},
		{"sluice.v1.api.unsubscribe.other", false, false},
		{"_SLUICE.sluice.session.emitter.x", false, false},
		{"_SLUICE.sluice.healthmon.leader.health.repair", false, false},
		{"_SLUICE.ack.x", false, false},
		{"_SLUICE.sluice.ack", false, false},
		{"_SLUICE.sluice.ack.>", false, false},
		{"_SLUICE.sluice.ackx.a", false, false},
		{"orders.created", false, false},
	} {
		if got := wire.IsInbox(tt.reply, own); got != tt.inbox {
			t.Errorf("IsInbox(%q) = %v", tt.reply, got)
		}
		if got := wire.IsAnswerSubject(tt.reply, own); got != tt.answer {
			t.Errorf("IsAnswerSubject(%q) = %v", tt.reply, got)
		}
	}
	if wire.IsInbox("_SLUICE_INBOX.a", "") || !wire.IsInbox("_INBOX.a", "") || wire.IsInbox(".a", "") {
		t.Error("without a prefix: want the default one only")
	}
}

func TestAnEmittersReplySubjectIsWhereASubscriberMayAnswer(t *testing.T) {
	t.Parallel()
	if reply := wire.Namespace("stage").Answers("emitter-1") + ".0.a"; !wire.IsAnswerSubject(reply, "") {
		t.Errorf("%s is refused", reply)
	}
}

func TestPrefixesOfInboxesAreNeverOtherSubjects(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"_INBOX", "_INBOX.sluice", "_SLUICE_INBOX", "_x", "_INBOX_sluice-1.a"} {
		if err := wire.ValidateInboxPrefix(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{
		"", "_", ".", "_INBOX.", "_INBOX..a", "_INBOX.>", "_IN*", "_IN BOX", "inbox", "$JS", "$KV.sluice_pools", "sluice.v1.api",
		"_SLUICE", "_SLUICE.sluice", "_R_", "_R_.a", "_GR_", "_GR_.a", "_ä", "_" + strings.Repeat("x", 64),
	} {
		if wire.ValidateInboxPrefix(bad) == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
