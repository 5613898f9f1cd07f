package report

import "github.com/volsnap/volsnap/internal/tree"

// Verification is how a replica compares with its set.
type Verification struct {
	Set     string           `json:"set"`
	Target  string           `json:"target"`
	OK      bool             `json:"ok"`
	Faults  []string         `json:"faults"` // of the set as a whole
	Members []VerifiedMember `json:"members"`
}

// VerifiedMember is one member of it.
type VerifiedMember struct {
	Dataset        string       `json:"dataset"` // at the source
	Replica        string       `json:"replica"` // where it lies at the target
	GUID           string       `json:"guid"`
	OK             bool         `json:"ok"`
	Content        *tree.Digest `json:"content"` // null if it was not read
	ReplicaContent *tree.Digest `json:"replica_content"`
	Error          string       `json:"error"`
}
