// Package replayer is the second pair of eyes on the lifecycle of
// subscriptions. Emitters compare what is wanted with what runs all by
// themselves; the replayer makes sure of it, and says what happened.
//
// One instance leads, the others stand by. After every move of leadership (a
// pool changed its owner, a leader lease changed hands, JetStream elected a
// leader for one of Sluice's buckets, the connection came back, the leader
// itself was elected) it
//
//  1. writes a barrier into the subscriptions bucket: everything acknowledged
//     before has a lower revision;
//  2. reads the bucket's history from the revision that it last reconciled up
//     to the barrier, and folds it into transitions;
//  3. judges by fresh reads of pool entries and records which of them the
//     emitters have not observed;
//  4. publishes those on the lifecycle subject of their name, again and again
//     with growing pauses, until they are observed or its patience ends;
//  5. publishes and stores a report, then moves the reconciled revision up to
//     the first transition that is still not observed.
//
// A burst of moves is one run; runs never overlap; moves during a run make
// exactly one more. What stays unobserved is tried again at the next move and
// on a period. Every step may be repeated: an instance that is killed at any
// point leaves at most a report that its successor makes again.
package replayer
