package lvm

// Options are those that the place was opened with, for a process that is to open it too.
func (r *Replicas) Options() Options { return r.options }
