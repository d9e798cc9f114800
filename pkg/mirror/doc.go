// Package mirror keeps a local copy of a key-value bucket: level, not edge.
//
// A watch keeps the copy current, but a watch can miss things without saying
// so: a delete whose marker was purged while the connection was down, an
// expired key, a bucket that was created anew. So the copy is compared with a
// fresh listing on a period and whenever Kick asks for it, and OnChange fires
// for whatever turns out to be different.
//
// What a user may rely on: OnChange is called, from one goroutine, after every
// change of a key that the copy shows, in the order in which the copy changed;
// several changes of one key may be seen as one. A key's revision never goes
// down while the bucket lives. After a listing that began once writes had
// ended, the copy equals the bucket. Reads may lag behind the bucket: whoever
// acts on the copy protects the act by compare-and-swap.
package mirror
