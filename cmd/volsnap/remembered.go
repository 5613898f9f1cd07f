package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/volsnap/volsnap/config"
	"github.com/volsnap/volsnap/internal/state"
	"github.com/volsnap/volsnap/replicate"
)

// Where a client's replicas lie is in the forced command of its key, and nowhere else on a backup server. It is noted beside their
// manifests, for the day on which that host is dead: then whoever may log in to the backup server gets them back by
// `volsnap restore --from ssh:… --client NAME`, which runs `volsnap serve --client NAME` there.

const placesFile = "places.json"

// rememberPlace notes the places of a client.
func rememberPlace(manifests string, into []config.Into) error {
	text, err := json.Marshal(nameOf(into, manifests).Into)
	if err != nil {
		return err
	}
	text = append(text, '\n')
	at := filepath.Join(manifests, placesFile)
	if have, err := state.ReadFile(at, placesLimit); err == nil && bytes.Equal(have, text) {
		return nil
	}
	return state.WriteFile(at, text, 0o600)
}

const placesLimit = 1 << 20

// rememberedPlace is where a client's replicas lay when it was here last.
func rememberedPlace(manifests string) (*replicate.Place, error) {
	text, err := state.ReadFile(filepath.Join(manifests, placesFile), placesLimit)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, usagef("neither --into nor --send is given: say what the client may do")
	}
	if err != nil {
		return nil, err
	}
	var names []string
	if err := json.Unmarshal(text, &names); err != nil {
		return nil, fmt.Errorf("read where its replicas lie: %w", err)
	}
	into, err := config.ParseIntos(names)
	if err != nil {
		return nil, fmt.Errorf("read where its replicas lie: %w", err)
	}
	return placeOf(into, false, manifests)
}
