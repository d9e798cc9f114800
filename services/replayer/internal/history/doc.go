// Package history folds the history of the subscriptions bucket into the
// transitions of each subscription's life, and judges which of them the
// emitters have observed. It is pure: no I/O, no clock.
//
// The history may begin anywhere and may lack its middle, because the bucket
// keeps only the last revisions of a name. The fold therefore goes by uid and
// generation, never by counting entries.
package history
