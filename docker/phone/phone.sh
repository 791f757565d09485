#!/bin/sh
# USER_NAME, PASSWORD and BOX are needed; TONE is the pitch in Hz. With DIAL it calls that user for TALK seconds, rests for
# REST seconds, and begins again; without, it waits to be called.
set -eu
profile=$HOME/.baresip
mkdir -p "$profile"
cat > "$profile/config" <<END
poll_method epoll
net_interface $(hostname -i | cut -d ' ' -f 1)
audio_source ausine,${TONE:-440}
audio_player aubridge,ear
audio_alert aubridge,bell
ausrc_srate 48000
auplay_srate 8000
ausrc_channels 2
auplay_channels 1
module_path /usr/lib/baresip/modules
module g711.so
module ausine.so
module aubridge.so
module_app account.so
module_app contact.so
module_app menu.so
END
echo "<sip:$USER_NAME@$BOX>;auth_pass=$PASSWORD;regint=60;answermode=auto;audio_codecs=PCMA" > "$profile/accounts"
: > "$profile/contacts"
if [ -z "${DIAL:-}" ]; then
    exec baresip -f "$profile"
fi
while :; do
    baresip -f "$profile" -e "/dial sip:$DIAL@$BOX" -t "${TALK:-10}"
    sleep "${REST:-5}"
done
