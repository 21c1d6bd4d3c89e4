# A model folder as an image, so that a cluster gets it as it gets everything else: by a tag that can be rolled back.
#   docker build --tag lakewright-model:3 --file infrastructure/serving/model.Dockerfile MODEL_FOLDER
FROM busybox:1.37.0
COPY --chown=10001:10001 . /model
USER 10001:10001
