#!/bin/bash
# Starts the page on macOS: copy this file to the desktop, and double-click it. The folder of batch is looked for in the
# usual places; BATCH_HOME names another one. Leave the window open while you work: closing it closes batch.
for place in "${BATCH_HOME-}" "$(dirname -- "$0")/../.." "$HOME/batch" "$HOME/Documents/batch" "$HOME/Downloads/batch" /opt/batch; do
    if [[ -n $place && -x $place/run.sh ]]; then
        BATCH_WINDOW=1 exec "$place/run.sh" page
    fi
done
echo 'batch was not found. Put its folder into your home folder, named "batch", and double-click this again.'
read -r -p 'Press Enter to close this window. ' _
exit 2
