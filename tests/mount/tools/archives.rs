//! zip and unzip, and moves between two mounts.

use super::TREE;
use crate::harness::{Kind, Mount, on_every_mount};

on_every_mount! {
    /// zip in the mount and unzip into it, with modes and times
    fn zip_and_unzip(mount) {
        mount.bash(&(TREE.to_owned() + r#"
            make_tree "$OUTSIDE/tree"
            # The set-group-id bit of a folder is not restored.
            whole_seconds "$OUTSIDE/tree"
            chmod g-s "$OUTSIDE/tree/empty"
            (cd "$OUTSIDE" && zip -qry tree.zip tree)
            unzip -q "$OUTSIDE/tree.zip"
            # Times of links are not restored, those of folders before what lies in them.
            find tree -depth \( -type d -o -type l \) -exec touch -h -d '2020-01-01 12:00:00' {} +
            same_tree "$OUTSIDE/tree" tree
            zip -qry inside.zip tree && unzip -tq inside.zip
            zip -q inside.zip -d 'tree/docs/*' && [ "$(unzip -l inside.zip | grep -c docs/numbers)" = 0 ]
            mkdir "$OUTSIDE/back" && unzip -q inside.zip -d "$OUTSIDE/back"
            diff -r --no-dereference tree/src "$OUTSIDE/back/tree/src"
        "#));
    }

    /// mv to another mount and back copies all attributes, and removes what was there
    fn moves_between_mounts(mount) {
        let other = Mount::of(&mount.place, Kind::Memory, "memory".into(), "other", &[]);
        mount.bash(&(TREE.to_owned() + r#"
            make_tree "$OUTSIDE/tree" && note_tree "$OUTSIDE/tree"
            cp -a "$OUTSIDE/tree" tree
            mv tree "$PLACE/other/moved"
            [ ! -e tree ]
            same_tree "$OUTSIDE/tree" "$PLACE/other/moved"
            echo new > single && mv "$PLACE/other/moved" . && mv -f single moved/src/1.txt
            [ -z "$(ls -A "$PLACE/other")" ]
            [ "$(cat moved/src/1.txt)" = new ]
            cp -a "$OUTSIDE/tree/src/1.txt" moved/src/ && touch -d '2020-01-03 12:00:00.125' moved/src
            same_tree "$OUTSIDE/tree" moved
        "#));
        drop(other);
    }
}
