# The custom container of an Inference Endpoint (docs/endpoints.md), and of any other machine:
#   docker build -t pulse-plantain . && docker run -p 80:80 pulse-plantain
# The toolkit's own container pins older releases of diffusers than the pipeline needs.
FROM python:3.11-slim

WORKDIR /app
COPY requirements.txt requirements-serve.txt ./
RUN pip install --no-cache-dir -r requirements-serve.txt
COPY handler.py serve.py adapter_* ./
COPY pulse_plantain pulse_plantain
COPY tiny tiny

# Threads that wait for each other sleep; the sheets are small, and they wait often.
ENV OMP_WAIT_POLICY=PASSIVE OPENBLAS_NUM_THREADS=1
EXPOSE 80
CMD ["uvicorn", "serve:app", "--host", "0.0.0.0", "--port", "80"]
