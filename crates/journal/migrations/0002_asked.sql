-- What the input asked for beside messages: timers and effects, whose own rows move and go. NULL where an older release
-- handled it.
ALTER TABLE inbox ADD COLUMN asked TEXT;
